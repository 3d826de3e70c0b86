"""Every effect on outputs, against its own definition on the full map; alone, in pairs, on some heads and some rows."""

from itertools import combinations_with_replacement
from typing import Any
from unittest.mock import patch

import pytest
import strategies as draws
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from regard.core import blockwise, dense
from regard.core.attend import attend
from regard.core.attention import Attention
from regard.core.effects import Bias, Effect, Mix, Out, Renormalise
from regard.core.mask import Mask
from regard.core.operands import Operands
from regard.core.patchwork import Patchwork
from regard.core.terms import Lse, Part, Row

KINDS = ["bias", "mix", "mass", "one", "out"]
ORDERS = [(kind,) for kind in KINDS] + list(combinations_with_replacement(KINDS, 2)) + [("mass", "mix"), ("one", "mix")]
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])


@DTYPES
@pytest.mark.parametrize("kinds", ORDERS, ids="-".join)
@settings(max_examples=10)
@given(data=st.data())
def test_effects(dtype: torch.dtype, kinds: tuple[str, ...], data: st.DataObject) -> None:
    op = data.draw(draws.operands(dtype))
    host = attend(op)[0]
    patchwork = Patchwork.of(op, lambda: host)
    touched = torch.zeros(op.batch, op.heads, op.q_len, dtype=torch.bool)
    oracle: list[Effect] = []
    with patch.object(blockwise, "BLOCK_ELEMENTS", data.draw(st.sampled_from([500, blockwise.BLOCK_ELEMENTS]))):
        for kind in kinds:
            heads, queries = data.draw(draws.selections(op))
            effect = data.draw(draws.effects(op.select(heads, slice(*queries)), kind))
            patchwork = patchwork.apply(effect, heads, queries)
            oracle.append(draws.everywhere(effect, op, heads, queries))
            touched[:, torch.arange(op.heads) if heads is None else heads, slice(*queries)] = True
        truth = dense.maps(draws.double(op), oracle)
        out = patchwork.output(lambda: host)
        assert draws.deviation(out, truth.out) <= draws.TOLERANCE[dtype]
        assert torch.equal(out[~touched], host[~touched])

        asked = data.draw(draws.terms(op))
        draws.agree(patchwork.answer(asked), truth, asked, dtype)
        asked = asked[: data.draw(st.integers(1, 2))]  # few terms may go another way
        draws.agree(patchwork.answer(asked), truth, asked, dtype)


@pytest.mark.parametrize("renormalise", [False, "mass", "one"])
def test_definitions_by_hand(renormalise: Renormalise) -> None:
    """The oracle takes the effects' own word for what they mean: here it is written out, entry by entry."""
    op = _operands(torch.float64, sink=torch.tensor([0.5, 1.0, -1.0, 2.0]))
    bias, weights = torch.randn(2, 4, 7, 7, dtype=torch.float64), torch.rand(2, 4, 7, 2, dtype=torch.float64)
    labels, scale = [0, 1, -1, 1, 0, -1, 1], torch.randn(2, 4, 7, 1, dtype=torch.float64)
    mix = Mix(Part(torch.tensor([labels]), 2), weights, renormalise)
    maps = dense.maps(op, [Bias(bias), mix, Out(scale)])
    for b, h, i in torch.cartesian_prod(*map(torch.arange, (2, 4, 7))).tolist():
        e = [float((op.q[b, h, i] @ op.k[b, h // 2, j] * 0.5 + bias[b, h, i, j]).exp()) for j in range(i + 1)]
        assert op.sink is not None
        total = sum(e) + float(op.sink[h].exp())
        factors = [1.0 if labels[j] < 0 else float(weights[b, h, i, labels[j]]) for j in range(i + 1)]
        row = [f * x / total for f, x in zip(factors, e, strict=True)]
        target = {False: sum(row), "mass": sum(e) / total, "one": 1.0}[renormalise]
        row = [a * target / sum(row) for a in row]
        out = sum(a * op.v[b, h // 2, j] for j, a in enumerate(row)) * scale[b, h, i]
        torch.testing.assert_close(maps.weights[b, h, i, : i + 1], torch.tensor(row, dtype=torch.float64))
        torch.testing.assert_close(maps.out[b, h, i], out)


@DTYPES
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(data=st.data())
def test_neutral_is_bit_equal(dtype: torch.dtype, kind: str, data: st.DataObject) -> None:
    op = data.draw(draws.operands(dtype))
    host = data.draw(draws.sources(dtype))(op.batch, op.heads, op.q_len, op.v.shape[-1])  # not what attend() would give
    strong = data.draw(draws.effects(op, kind))
    neutral = _neutral(strong)
    out = Patchwork.of(op, lambda: host).apply(neutral, *data.draw(draws.selections(op))).output(lambda: host)
    assert torch.equal(out, host)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("renormalise", [False, "mass", "one"])
def test_neutral_rows_of_a_half_precision_output_are_bit_equal(dtype: torch.dtype, renormalise: Renormalise) -> None:
    op = _operands(dtype)
    host = torch.randn_like(op.q)
    weights = torch.ones(2, 4, 7, 2)
    weights[:, :, 3:] = 0.25
    mix = Mix(Part(torch.tensor([[0, 0, 1, -1, 1, 0, -1]]), 2), weights, renormalise)
    out = Attention(op, lambda: host).apply(mix).output()
    assert out.dtype == dtype
    assert torch.equal(out[:, :, :3], host[:, :, :3])
    assert not torch.equal(out[:, :, 3:], host[:, :, 3:])


def test_an_emptied_row_stays_empty() -> None:
    """Nothing is left to renormalise: output and weights are 0, not NaN."""
    op = _operands(torch.float64)
    part = Part(torch.zeros(1, 7, dtype=torch.long), 1)
    emptied = Attention(op, lambda: attend(op)[0]).apply(Mix(part, torch.zeros(1, 1, 1, 1), renormalise="mass"))
    assert (emptied.output() == 0).all()
    (mass,) = emptied.answer([Row(torch.ones(7, 1))])
    assert torch.equal(mass, torch.zeros_like(mass))


def test_a_row_keeps_the_mass_that_a_sink_logit_left_it() -> None:
    op = _operands(torch.float64, sink=torch.tensor([0.5, 1.0, -1.0, 2.0]))
    before = Attention(op, lambda: attend(op)[0])
    part = Part(torch.tensor([[0, 0, 0, 1, 1, 1, 1]]), 2)
    after = before.apply(Mix(part, torch.tensor([0.2, 1.5]).view(1, 1, 1, 2), renormalise="mass"))
    ones = Row(torch.ones(7, 1))
    (old,), (new,) = before.answer([ones]), after.answer([ones])
    assert (old < 0.99).all()
    torch.testing.assert_close(new, old)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 4, 7, 1), (1, 4, 1, 7), (2, 1, 7, 7)], ids=str)
def test_bias_broadcasts_in_every_axis(shape: tuple[int, ...]) -> None:
    """A bias that is the same for all keys only moves mass between the keys and the sink logit, but move it it does."""
    op = _operands(torch.float64, sink=torch.tensor([0.5, 1.0, -1.0, 2.0]))
    bias = Bias(torch.randn(shape, dtype=torch.float64))
    part = Part(torch.tensor([[0, 0, 0, -1, -1, 1, 1]]), 2)
    truth = dense.maps(op, [bias])
    for asked in ([part], [Lse()], [part, Lse(), Row(torch.ones(7, 1))]):
        biased = Attention(op, lambda: attend(op)[0]).apply(bias)
        draws.agree(biased.answer(asked), truth, asked, torch.float64)
        assert draws.deviation(biased.output(), truth.out) <= draws.TOLERANCE[torch.float64]


@pytest.mark.parametrize("host_bias", [False, True], ids=["plain", "host has a bias"])
@pytest.mark.parametrize(
    ("kinds", "late"),
    [(["out"], "bias"), (["mix"], "bias"), (["bias", "out"], "bias"), (["out"], "mix"), (["bias", "out"], "mix")],
    ids=str,
)
def test_stages_only_go_forward(kinds: list[str], late: str, host_bias: bool) -> None:
    """Else the earlier change would be lost, or applied to less than there is, without a word."""
    op = _operands(torch.float64, bias=torch.randn(1, 1, 1, 7, dtype=torch.float64) if host_bias else None)
    made = {
        "bias": Bias(torch.ones(1, 1, 1, 7, dtype=torch.float64)),
        "mix": Mix(Part(torch.tensor([[0, 0, 0, 0, 1, 1, 1]]), 2), torch.full((1, 1, 1, 2), 0.5)),
        "out": Out(torch.full((1, 1, 1, 1), 0.5)),
    }
    attention = Attention(op, lambda: attend(op)[0])
    for kind in kinds:
        attention = attention.apply(made[kind])
    with pytest.raises(ValueError, match="stage"):
        attention.apply(made[late])


def test_untouched_heads_never_ask_for_more_than_the_host() -> None:
    """An edit of one head leaves the other heads' output the host's own, and computes nothing for them."""
    op = _operands(torch.float32)
    host = torch.full_like(op.q, torch.nan)
    seen: list[int] = []

    def watch(cropped: Operands) -> tuple[Tensor, Tensor]:
        seen.append(cropped.heads)
        return attend(cropped)

    with patch("regard.core.attention.attend", watch):
        bias = Bias(torch.ones(1, 1, 1, 7))
        out = Patchwork.of(op, lambda: host).apply(bias, torch.tensor([2]), (0, 7)).output(lambda: host)
    assert seen == [1]
    assert out[:, 2].isfinite().all()
    assert out[:, [0, 1, 3]].isnan().all()


def _operands(dtype: torch.dtype, sink: Tensor | None = None, bias: Tensor | None = None) -> Operands:
    mask = Mask(2, 7, 7, torch.device("cpu"), causal=True)
    q, k, v = (torch.randn(2, heads, 7, 4).to(dtype) for heads in (4, 2, 2))
    return Operands(q, k, v, mask, 0.5, sink=None if sink is None else sink.to(dtype), bias=bias)


def _neutral(effect: Effect) -> Effect:
    match effect:
        case Bias(bias):
            return Bias(torch.zeros_like(bias))
        case Mix(part, weights, renormalise):
            return Mix(part, torch.ones_like(weights[:1, :1, :1]), renormalise)
        case Out(scale):
            return Out(torch.ones_like(scale[:1, :1, :1]))
    raise TypeError(type(effect))


@pytest.mark.parametrize("renormalise", [False, "mass", "one"])
def test_factors_that_follow_the_masses_are_those_computed_from_them_by_hand(renormalise: Any) -> None:
    """A function of the masses, entry by entry: a third of segment 0 goes to segment 1, in proportion."""
    torch.manual_seed(3)
    n = 7
    q, k, v = (torch.randn(2, 2, n, 4, dtype=torch.float64) for _ in range(3))
    op = Operands(q, k, v, Mask(2, n, n, q.device, causal=True), 0.5)
    labels = torch.tensor([[0, 1, -1, 1, 0, -1, 1]])

    def factors(mass: torch.Tensor, block: Any) -> torch.Tensor:
        taken, given = mass.unbind(-1)
        there = given > 0
        gain = torch.where(there, 1 + taken / 3 / given.where(there, torch.ones_like(given)), 1.0)
        return torch.stack([1 - there.to(mass.dtype) / 3, gain], -1)

    edited = Attention(op, lambda: attend(op)[0]).apply(Mix(Part(labels, 2), factors, renormalise))
    allowed = torch.ones(n, n).tril().bool()
    weights = (0.5 * q @ k.mT).masked_fill(~allowed, float("-inf")).softmax(-1)
    for b in range(2):
        for h in range(2):
            for i in range(n):
                row = weights[b, h, i].clone()
                taken, given = (float(row[labels[0] == segment].sum()) for segment in (0, 1))
                if given > 0:
                    row[labels[0] == 0] *= 2 / 3
                    row[labels[0] == 1] *= 1 + taken / 3 / given
                torch.testing.assert_close(edited.output()[b, h, i], row @ v[b, h], atol=1e-10, rtol=0)
