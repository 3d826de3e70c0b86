"""Gradients through every effect, by the operands and by the effect's own tensors, against those of the dense oracle."""

from dataclasses import fields, replace
from unittest.mock import patch

import edits
import pytest
import strategies as draws
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from regard.core import blockwise, dense
from regard.core.attend import attend
from regard.core.attention import Attention
from regard.core.effects import Effect
from regard.core.operands import Extra, Operands
from regard.core.terms import Col, Lse, Score


def leaves(op: Operands, effect: Effect) -> tuple[Operands, Effect, list[Tensor]]:
    """Return both anew, all that is a number a leaf, and the leaves."""
    made: list[Tensor] = []

    def leaf(tensor: Tensor) -> Tensor:
        made.append(tensor.detach().clone().requires_grad_())
        return made[-1]

    def fresh(thing: Operands | Effect) -> dict[str, Tensor]:
        values = {field.name: getattr(thing, field.name) for field in fields(thing)}
        return {n: leaf(t) for n, t in values.items() if isinstance(t, Tensor) and t.is_floating_point()}

    op = replace(op, **fresh(op), extra=tuple(Extra(leaf(e.k), leaf(e.v), e.rows) for e in op.extra))
    return op, replace(effect, **fresh(effect)), made


@pytest.mark.parametrize("kind", edits.KINDS)
@settings(max_examples=10)
@given(data=st.data())
def test_effects(kind: str, data: st.DataObject) -> None:
    op = data.draw(draws.operands(lengths=st.sampled_from([1, 2, 7]), blocking=False, plain=data.draw(st.booleans())))
    if data.draw(st.booleans()):
        op = data.draw(edits.with_extra(op))
    effect = data.draw(edits.effects(op, kind))
    if kind in ("bias", "rectangle"):
        effect = replace(effect, bias=effect.bias.nan_to_num(neginf=-2.0))
    gradients = []
    for way in ("mine", "dense"):
        here, one, made = leaves(op, effect)
        if way == "mine":
            with patch.object(blockwise, "BLOCK_ELEMENTS", data.draw(st.sampled_from([1, blockwise.BLOCK_ELEMENTS]))):
                edited = Attention(here, lambda here=here: attend(here)[0]).apply(one)
                asked = [Lse()] if kind == "output" else [Lse(), Score(), Col()]
                answers = [edited.output(), *edited.answer(asked)]
                gradients.append(_gradients(answers, made))
        else:
            truth = dense.maps(here, [one])
            gradients.append(_gradients([truth.out, *(dense.answer(truth, term) for term in asked)], made))
    for a, b in zip(*gradients, strict=True):
        assert b.isfinite().all()
        assert draws.deviation(a, b) <= 1e-9


def _gradients(answers: list[Tensor], made: list[Tensor]) -> list[Tensor]:
    normal = draws.tensors(7, torch.float64)
    total = sum((t.masked_fill(t.isneginf(), 0.0) * normal(*t.shape)).sum() for t in answers)
    assert isinstance(total, Tensor)
    return list(torch.autograd.grad(total, made, allow_unused=True, materialize_grads=True))
