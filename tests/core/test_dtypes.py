"""Half precision, dropout, and shapes that are easily got wrong, against the oracle."""

from dataclasses import replace
from unittest.mock import patch

import edits
import pytest
import strategies as draws
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import dropout

from regard.core import blockwise, dense, fused
from regard.core.attend import attend
from regard.core.attention import Attention
from regard.core.effects import Bias, Blend, Effect, KeyScale, Mix
from regard.core.mask import Mask
from regard.core.operands import Extra, Operands
from regard.core.terms import Col, Lse, Part, Row, Score

EPS = {torch.bfloat16: 2**-8, torch.float16: 2**-11}
HALF = pytest.mark.parametrize("dtype", list(EPS), ids=["bfloat16", "float16"])


def rounded(op: Operands, dtype: torch.dtype) -> Operands:
    return replace(op, **{name: getattr(op, name).to(dtype) for name in ("q", "k", "v")})


@HALF
@settings(max_examples=40)
@given(data=st.data())
def test_half_precision(dtype: torch.dtype, data: st.DataObject) -> None:
    """Statistics as good as float32, from the same rounded numbers; outputs within one rounding of weights and one of values.

    A row of weights rounded by eps each, times values of up to max |v|, and the result rounded once more.
    """
    op = rounded(data.draw(draws.operands(torch.float32, plain=data.draw(st.booleans()))), dtype)
    truth = dense.maps(draws.double(op))
    attention = Attention(op, lambda: attend(op)[0])
    out = attention.output()
    assert out.dtype == dtype
    assert (out.double() - truth.out).abs().max() <= 2 * EPS[dtype] * op.v.double().abs().max()
    f = torch.rand(op.k_len, 2)
    for asked in ([Lse()], [Score()], [Row(f)], [Col()], [Lse(), Score(), Row(f), Col()]):
        for answer, term in zip(attention.answer(asked), asked, strict=True):
            assert draws.deviation(answer, dense.answer(truth, term)) <= 1e-4, type(term).__name__


@HALF
@pytest.mark.parametrize("kind", [kind for kind in edits.KINDS if kind not in ("queries", "keys", "output", "patch")])
@settings(max_examples=8)
@given(data=st.data())
def test_effects_in_half_precision(dtype: torch.dtype, kind: str, data: st.DataObject) -> None:
    """The edited output of rounded numbers, from the oracle's own output rounded: each step adds one rounding.

    Factors here stay below 4 and rows below 4 in mass, which is where 16 roundings come from.
    """
    op = data.draw(draws.operands(torch.float32, lengths=st.sampled_from([1, 7, 63])))
    effect = data.draw(edits.effects(op, kind))
    op = rounded(op, dtype)
    out = Attention(op, lambda: attend(op)[0]).apply(effect).output()
    truth = dense.maps(draws.double(op), [effect]).out
    assert out.dtype == dtype and out.isfinite().all()
    size = max(op.v.double().abs().max(), truth.abs().max(), 1.0)
    assert (out.double() - truth).abs().max() <= 16 * EPS[dtype] * size


@HALF
def test_received_mass_of_a_long_text(dtype: torch.dtype) -> None:
    """Column sums over 1000 queries, relative to what a key receives: 1e-4, where rounding L to bfloat16 gives 5e-2."""
    mask = Mask(1, 1000, 1000, torch.device("cpu"), causal=True)
    op = Operands(*(torch.randn(1, heads, 1000, 64).to(dtype) for heads in (4, 2, 2)), mask, 0.125)
    assert fused.supports(op)
    (received,) = Attention(op, lambda: op.q).answer([Col()])
    truth = dense.answer(dense.maps(draws.double(op)), Col())
    assert ((received - truth) / truth).abs().max() <= 1e-4


@pytest.mark.parametrize("q_len", [1, 2])
def test_few_queries_against_a_long_cache(q_len: int) -> None:
    """Grouped heads, values of another width, a sink logit, left padding, and memory that is not contiguous."""
    n = 5000
    mask = Mask(
        2,
        q_len,
        n,
        torch.device("cpu"),
        causal=True,
        offset=n - q_len,
        keys=torch.arange(n) >= torch.tensor([[0], [9]]),
    )
    q, k, v = (
        torch.randn(2, length, heads, width).transpose(1, 2)
        for length, heads, width in ((q_len, 6, 8), (n, 2, 8), (n, 2, 12))
    )
    op = Operands(q, k, v, mask, 0.3, sink=torch.randn(6))
    truth = dense.maps(draws.double(op))
    attention = Attention(op, lambda: attend(op)[0])
    assert draws.deviation(attention.output(), truth.out) <= 1e-5
    asked = [Lse(), Score(), Row(torch.rand(n, 3)), Col(), Part((torch.arange(n) // 2000)[None], 3)]
    draws.agree(attention.answer(asked), truth, asked, torch.float32)
    mix = Mix(asked[-1], torch.rand(2, 6, q_len, 3), "mass")
    assert draws.deviation(attention.apply(mix).output(), dense.maps(draws.double(op), [mix]).out) <= 1e-5


@pytest.mark.parametrize("kind", [None, "bias", "mix", "key scale", "identity", "uniform", "rewrite", "extra"])
@settings(max_examples=10)
@given(data=st.data())
def test_dropout(kind: str | None, data: st.DataObject) -> None:
    """One block draws what `dropout` draws on the whole map, so that the oracle, from the same seed, is met exactly.

    Statistics are of the weights before. Rows that the effect leaves alone stay what the host had drawn.
    """
    op = data.draw(draws.operands(lengths=st.integers(2, 20)))
    op = replace(op, mask=replace(op.mask, causal=False), dropout=0.5)
    effects = [] if kind is None else [data.draw(edits.effects(op, kind))]
    torch.manual_seed(3)
    truth = dense.maps(op, effects)
    host = torch.full_like(truth.out, torch.pi)
    torch.manual_seed(3)
    attention = Attention(op, lambda: host if effects else attend(op)[0])
    for effect in effects:
        attention = attention.apply(effect)
    out = attention.output()
    drawn = (out != torch.pi).any(-1)
    assert draws.deviation(out[drawn], truth.out[drawn]) <= 1e-10
    if kind in (None, "extra"):
        assert drawn.all()
    else:
        assert drawn[(truth.weights - dense.maps(op).weights).abs().amax(-1) > 1e-12].all()
    draws.agree(attention.answer([Score(), Col()]), truth, [Score(), Col()], torch.float64)


def test_dropout_of_half_the_weights_keeps_the_mean() -> None:
    """Over blocks and over extra keys: each weight is dropped by a draw of its own, and what is left counts double."""
    n = 64
    ones, extra = torch.ones(1, 1, n, 4), Extra(torch.zeros(1, 1, 8, 4), torch.ones(1, 1, 8, 4))
    op = Operands(
        torch.zeros(1, 1, 1000, 4), ones, ones, Mask(1, 1000, n, torch.device("cpu")), 0.5, extra=(extra,), dropout=0.5
    )
    with patch.object(blockwise, "BLOCK_ELEMENTS", 500):
        out = attend(op)[0][..., 0]
    kept = out * (n + 8) / 2  # how many of 72 uniform weights were kept: binomial
    assert abs(kept.mean() - 36) <= 5 * (72 / 4 / 1000) ** 0.5
    assert 0.8 <= kept.var() / (72 / 4) <= 1.25  # 1000 rows: five standard deviations are 0.22
    assert not torch.equal(out, dropout(torch.ones_like(out), 0.0))


def test_gradients_go_through_the_weights_that_were_kept() -> None:
    """The backward pass sees the draw of the forward pass, though every block is computed again."""
    op = Operands(
        *(torch.randn(1, 2, 9, 4, dtype=torch.float64) for _ in range(3)),
        Mask(1, 9, 9, torch.device("cpu")),
        0.5,
        dropout=0.5,
    )
    results = []
    for way in (lambda o: attend(o)[0], lambda o: dense.maps(o).out):
        v = op.v.clone().requires_grad_()
        torch.manual_seed(1)
        way(replace(op, v=v)).square().sum().backward()
        results.append(v.grad)
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("plain", [True, False], ids=["fused", "blockwise"])
@pytest.mark.parametrize("n", [1, 63, 1000])
def test_lengths(n: int, plain: bool) -> None:
    """Odd lengths, with grouped heads and left padding, in more blocks than one."""
    mask = Mask(2, n, n, torch.device("cpu"), causal=True, keys=torch.arange(n) >= torch.tensor([[0], [n // 2]]))
    q, k, v = (torch.randn(2, heads, n, 8, dtype=torch.float64) for heads in (2, 1, 1))
    op = Operands(q, k, v, mask, 0.35, softcap=None if plain else 20.0)
    assert fused.supports(op) == plain
    truth, attention = dense.maps(op), Attention(op, lambda: attend(op)[0])
    assert draws.deviation(attention.output(), truth.out) <= 1e-10
    part = Part((torch.arange(n) % 3)[None], 3)
    for asked in ([Lse(), Col()], [Score()], [Row(torch.rand(n, 2))], [Lse(), Score(), Col(), part]):
        draws.agree(attention.answer(asked), truth, asked, torch.float64)
    for kind in ("rectangle", "mix", "key scale", "identity", "uniform"):
        effect = _drawn(op, kind)
        assert draws.deviation(attention.apply(effect).output(), dense.maps(op, [effect]).out) <= 1e-10


def _drawn(op: Operands, kind: str) -> Effect:
    at, key = torch.arange(op.q_len)[None], torch.rand(2, 1, op.k_len)
    match kind:
        case "rectangle":
            return Bias(key[:, :, None].log(), (torch.rand(2, 1, op.q_len) > 0.5).double())
        case "mix":
            return Mix(Part((torch.arange(op.k_len) % 3)[None], 3), torch.rand(2, 2, op.q_len, 3), "mass")
        case "key scale":
            return KeyScale(key, "one")
    return Blend(0.4, at=at) if kind == "identity" else Blend(0.4, "uniform")
