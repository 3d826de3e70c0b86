"""Gradients of every differentiable answer, through autograd, against those of the dense oracle."""

from collections.abc import Sequence
from dataclasses import replace
from unittest.mock import patch

import strategies as draws
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from regard.core import blockwise, dense
from regard.core.attend import attend
from regard.core.attention import Attention
from regard.core.effects import Mix, Out, Renormalise
from regard.core.mask import Mask
from regard.core.operands import Operands
from regard.core.terms import Answer, Col, Lse, Parts, Row, Score

SMALL = st.sampled_from([1, 2, 7, 63])
LEAVES = ("q", "k", "v", "sink", "bias")


def leaves(op: Operands) -> Operands:
    """Return the attention with every tensor a leaf that wants a gradient."""
    return replace(op, **{n: t.clone().requires_grad_() for n in LEAVES if (t := getattr(op, n)) is not None})


def loss(answers: Sequence[Answer], seed: int) -> Tensor:
    """Return a random linear functional of answers, over what is finite."""
    normal = draws.tensors(seed, torch.float64)
    total = torch.zeros((), dtype=torch.float64)
    for answer in answers:
        for tensor in answer if isinstance(answer, Parts) else [answer]:
            total = total + (tensor.masked_fill(tensor.isneginf(), 0.0) * normal(*tensor.shape)).sum()
    return total


def gradients(total: Tensor, op: Operands, *others: Tensor) -> list[Tensor]:
    """Return the gradients by every leaf; zero where the loss does not depend on it."""
    wanted = [t for n in LEAVES if (t := getattr(op, n)) is not None] + list(others)
    return list(torch.autograd.grad(total, wanted, allow_unused=True, materialize_grads=True))


def agree(got: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    for a, b in zip(got, expected, strict=True):
        assert b.isfinite().all()
        assert draws.deviation(a, b) <= 1e-9  # sums of up to 63 * 9 products, each off by 1e-16 of a few units


@settings(max_examples=40)
@given(data=st.data())
def test_attend(data: st.DataObject) -> None:
    op = data.draw(draws.operands(lengths=SMALL, blocking=False))
    mine, truth = leaves(op), leaves(op)
    with patch.object(blockwise, "BLOCK_ELEMENTS", data.draw(st.sampled_from([500, blockwise.BLOCK_ELEMENTS]))):
        out, lse = attend(mine)
        got = gradients(loss([out, lse], 1), mine)
    maps = dense.maps(truth)
    agree(got, gradients(loss([maps.out, maps.lse], 1), truth))


@settings(max_examples=40)
@given(data=st.data())
def test_terms(data: st.DataObject) -> None:
    op = data.draw(draws.operands(lengths=SMALL, blocking=False))
    normal = data.draw(draws.sources())
    f, g = normal(op.k_len, 2), normal(op.batch, op.q_len)
    part = data.draw(draws.labels(op))
    mine, truth = leaves(op), leaves(op)
    f_mine, g_mine, f_truth, g_truth = (t.clone().requires_grad_() for t in (f, g, f, g))
    with patch.object(blockwise, "BLOCK_ELEMENTS", data.draw(st.sampled_from([500, blockwise.BLOCK_ELEMENTS]))):
        answers = Attention(mine, lambda: attend(mine)[0]).answer([Lse(), Score(), Row(f_mine), Col(g_mine), part])
        got = gradients(loss(answers, 2), mine, f_mine, g_mine)
    maps = dense.maps(truth)
    expected = [dense.answer(maps, term) for term in (Lse(), Score(), Row(f_truth), Col(g_truth), part)]
    agree(got, gradients(loss(expected, 2), truth, f_truth, g_truth))


@settings(max_examples=25)
@given(data=st.data(), renormalise=st.sampled_from([False, "mass", "one"]))
def test_after_effects(data: st.DataObject, renormalise: Renormalise) -> None:
    op = data.draw(draws.operands(lengths=SMALL, blocking=False))
    normal = data.draw(draws.sources())
    part = data.draw(draws.labels(op))
    weights, scale = normal(op.batch, 1, op.q_len, part.n).abs() + 0.1, normal(1, op.heads, 1, 1)
    mine, truth = leaves(op), leaves(op)
    w_mine, s_mine, w_truth, s_truth = (t.clone().requires_grad_() for t in (weights, scale, weights, scale))
    mixed = Attention(mine, lambda: attend(mine)[0]).apply(Mix(part, w_mine, renormalise)).apply(Out(s_mine))
    answers = [mixed.output(), *mixed.answer([Score(), Col()])]
    got = gradients(loss(answers, 3), mine, w_mine, s_mine)
    maps = dense.maps(truth, [Mix(part, w_truth, renormalise), Out(s_truth)])
    expected = [maps.out, dense.answer(maps, Score()), dense.answer(maps, Col())]
    agree(got, gradients(loss(expected, 3), truth, w_truth, s_truth))


def test_a_probe_alone_may_want_a_gradient() -> None:
    """Where only f and g do, terms go fused, and must not lose the gradient on the way."""
    mask = Mask(1, 9, 9, torch.device("cpu"), causal=True)
    q, k, v = (torch.randn(1, 2, 9, 4, dtype=torch.float64) for _ in range(3))
    op = Operands(q, k, v, mask, 0.5)
    for make in (lambda t: Row(t), lambda t: Col(t[None, :, 0])):
        got, expected = (torch.randn(9, 3, dtype=torch.float64, generator=_seed()).requires_grad_() for _ in range(2))
        (answer,) = Attention(op, lambda: attend(op)[0]).answer([make(got)])
        loss([answer], 4).backward()
        loss([dense.answer(dense.maps(op), make(expected))], 4).backward()
        torch.testing.assert_close(got.grad, expected.grad)


def _seed() -> torch.Generator:
    return torch.Generator().manual_seed(5)
