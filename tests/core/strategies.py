"""Attentions, terms and effects of every kind, drawn by hypothesis, and the comparison with the oracle."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from hypothesis import strategies as st
from torch import Tensor

from regard.core import dense
from regard.core.effects import Bias, Effect, Mix, Out
from regard.core.mask import Mask, Span
from regard.core.operands import Operands
from regard.core.terms import Answer, Block, Col, Far, Lse, Part, Parts, Row, Rows, Score, Term, Top, Without

LENGTHS = st.sampled_from([1, 2, 7, 63, 65]) | st.integers(3, 130)
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Per unit of `1 + |expected|`. Scores here stay below 30 or so, whose own rounding is 30 * 2e-16 and 30 * 6e-8."""


def tensors(seed: int, dtype: torch.dtype) -> Callable[..., Tensor]:
    """Return a source of normal tensors; the draw of a seed shrinks better than the draw of every number."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    return normal


@st.composite
def sources(draw: st.DrawFn, dtype: torch.dtype = torch.float64) -> Callable[..., Tensor]:
    """Draw a source of normal tensors."""
    return tensors(draw(st.integers(0, 2**20)), dtype)


@st.composite
def masks(draw: st.DrawFn, batch: int, heads: int, q_len: int, k_len: int, plain: bool = False) -> Mask:
    """Draw a mask of any kind; rows in which nothing is allowed occur."""
    normal = draw(sources())
    mask = Mask(batch, q_len, k_len, torch.device("cpu"))
    kinds = ["full", "causal"] if plain else ["full", "causal", "causal", "bool", "float", "window"]
    kind = draw(st.sampled_from(kinds))
    if kind == "causal":
        offsets = st.sampled_from([0, k_len - q_len, -1, 1]) | st.integers(-q_len - 1, k_len + 1)
        mask = replace(mask, causal=True, offset=draw(offsets))
    elif kind in ("bool", "float"):
        shape = (draw(st.sampled_from([1, batch])), draw(st.sampled_from([1, heads])), q_len, k_len)
        table = normal(*shape) > draw(st.sampled_from([-1.0, 0.5]))
        if kind == "float":
            masked = draw(st.sampled_from([float("-inf"), torch.finfo(torch.float32).min]))
            table = normal(*shape).float().masked_fill(~table, masked)
        mask = replace(mask, table=table, causal=draw(st.booleans()))
    elif kind == "window":
        width = draw(st.integers(1, 9))

        def window(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return (key <= query) & (key > query - width - batch)

        mask = replace(mask, function=window, q_start=draw(st.integers(0, k_len)), k_start=draw(st.integers(0, 3)))
    padding = draw(st.sampled_from(["none", "none", "left", "right", "holes"]))
    if padding != "none":
        rows = draw(st.sampled_from([1, batch]))
        real = torch.tensor(draw(st.lists(st.integers(0, k_len), min_size=rows, max_size=rows)))[:, None]
        at = torch.arange(k_len)
        keys = {"left": at >= k_len - real, "right": at < real, "holes": normal(rows, k_len) > -0.5}[padding]
        mask = replace(mask, keys=keys)
    return mask


@st.composite
def operands(
    draw: st.DrawFn,
    dtype: torch.dtype = torch.float64,
    plain: bool = False,
    lengths: st.SearchStrategy[int] = LENGTHS,
    blocking: bool = True,
) -> Operands:
    """Draw an attention; `plain` for those that fused kernels take, `blocking` to let biases hold -inf."""
    normal = draw(sources(dtype))
    batch, kv_heads, groups = (draw(st.integers(1, 3)) for _ in range(3))
    heads = kv_heads * groups
    q_len, k_len = draw(lengths), draw(lengths)
    dim = draw(st.sampled_from([1, 4, 8, 17]))
    value_dim = draw(st.sampled_from([dim, 1, 5, 24]))
    layout = draw(st.sampled_from(["contiguous", "transposed", "strided"]))

    def laid_out(n: int, length: int, width: int) -> Tensor:
        match layout:
            case "transposed":  # as the projections of most models leave it
                return normal(batch, length, n, width).transpose(1, 2)
            case "strided":
                return normal(batch, n, length, 2 * width)[..., ::2]
        return normal(batch, n, length, width)

    bias = None
    kind = draw(st.sampled_from(["none", "none", "key"] if plain else ["none", "none", "key", "row"]))
    if kind != "none":
        rows = 1 if kind == "key" else q_len
        bias = 2 * normal(draw(st.sampled_from([1, batch])), draw(st.sampled_from([1, heads])), rows, k_len)
        if blocking and draw(st.booleans()):
            bias = bias.masked_fill(normal(*bias.shape) > 0.5, float("-inf"))
    sink = draw(st.sampled_from(["none", "none", "head", "row"]))
    return Operands(
        laid_out(heads, q_len, dim),
        laid_out(kv_heads, k_len, dim),
        laid_out(kv_heads, k_len, value_dim),
        draw(masks(batch, heads, q_len, k_len, plain)),
        scale=draw(st.sampled_from([1.0, 2.5])) * dim**-0.5,
        softcap=None if plain else draw(st.sampled_from([None, None, None, 2.0])),
        sink={"none": None, "head": normal(heads), "row": normal(batch, heads, q_len)}[sink],
        bias=bias,
    )


def double(op: Operands) -> Operands:
    """Return the same attention in float64: what the oracle computes from."""
    names = ("q", "k", "v", "sink", "bias")
    return replace(op, **{n: None if (t := getattr(op, n)) is None else t.double() for n in names})


@st.composite
def labels(draw: st.DrawFn, op: Operands) -> Part:
    """Draw disjoint segments of the keys: some keys are in none, and some segments are empty."""
    n = draw(st.integers(1, 4))
    numbers = draw(sources())(draw(st.sampled_from([1, op.batch])), op.k_len)
    return Part((numbers * 2).round().long().clamp(-1, n - 1), n)


def rows_seen(weights: Tensor, block: Block) -> Tensor:
    """Answer with what only exact rows, at known heads, queries and keys, can tell: [batch, head, row, 2]."""
    heads = torch.arange(weights.shape[1]) if block.heads is None else block.heads
    q, k = torch.arange(*block.rows), torch.arange(*block.cols)
    far = (q[:, None] - k).abs() * (1 + heads)[:, None, None]
    return torch.stack([weights.square().sum(-1), (weights * far.to(weights.dtype)).sum(-1) / 100], -1)


@st.composite
def terms(draw: st.DrawFn, op: Operands) -> list[Term]:
    """Draw every kind of term about an attention, in any order."""
    normal = draw(sources(draw(st.sampled_from([op.q.dtype, torch.float32]))))
    b, h, q, k = op.batch, op.heads, op.q_len, op.k_len
    wide = draw(st.sampled_from([1, 3, 40]))
    asked = [
        Lse(),
        Score(),
        Row(normal(k, wide)),
        Row(normal(b, k, 1)),
        Row(normal(b, h, k, 2)),
        Row((normal(b, k, 2) > 0).to(op.q.dtype)),
        Top(),
        Without(normal(b, k) > 0.5, Score()),
        Without(normal(1, k) > -0.5, Far(torch.arange(q)[None], torch.arange(k)[None])),
        Without(torch.zeros(1, k, dtype=torch.bool), Row(normal(k, 2))),
        Far(torch.arange(q)[None] * 2.0, normal(b, k)),
        Col(),
        Col(normal(b, q)),
        Col(normal(b, h, q)),
        draw(labels(op)),
        Rows(rows_seen),
    ]
    return draw(st.permutations(asked))


@st.composite
def effects(draw: st.DrawFn, op: Operands, kind: Literal["bias", "mix", "mass", "one", "out"]) -> Effect:
    """Draw an effect that fits an attention, some of its axes broadcast; "mass" and "one" are mixes that renormalise to it."""
    normal = draw(sources(op.q.dtype))
    shape = [draw(st.sampled_from([1, size])) for size in (op.batch, op.heads, op.q_len)]
    match kind:
        case "bias":
            bias = normal(*shape, op.k_len)
            return Bias(bias.masked_fill(normal(*bias.shape) > 1, float("-inf")) if draw(st.booleans()) else bias)
        case "mix" | "mass" | "one":
            part = draw(labels(op))
            weights = (normal(*shape, part.n) + 0.5).clamp_min(0)
            return Mix(part, weights, renormalise=False if kind == "mix" else kind)
    return Out(normal(*shape, 1))


@st.composite
def selections(draw: st.DrawFn, op: Operands) -> tuple[Tensor | None, Span]:
    """Draw some heads (None for all) and a range of queries."""
    heads = draw(st.none() | st.sets(st.integers(0, op.heads - 1), min_size=1))
    start = draw(st.just(0) | st.integers(0, op.q_len - 1))
    stop = draw(st.just(op.q_len) | st.integers(start + 1, op.q_len))
    return None if heads is None else torch.tensor(sorted(heads)), (start, stop)


def everywhere(effect: Effect, op: Operands, heads: Tensor | None, queries: Span) -> Effect:
    """Return the effect on the whole attention that is neutral outside the selection: what the oracle is given."""

    def spread(tensor: Tensor, neutral: float) -> Tensor:
        whole = tensor.new_full((op.batch, op.heads, op.q_len, tensor.shape[-1]), neutral)
        index = torch.arange(op.heads) if heads is None else heads
        whole[:, index, slice(*queries)] = tensor
        return whole

    match effect:
        case Bias(bias):
            return Bias(spread(bias, 0.0).double())
        case Mix(part, weights, renormalise):
            return Mix(part, spread(weights, 1.0).double(), renormalise)
        case Out(scale):
            return Out(spread(scale, 1.0).double())
    raise TypeError(type(effect))


def deviation(answer: Answer, expected: Answer) -> float:
    """Return the worst `|a - b| / (1 + |b|)`; infinite where shapes, infinities or NaN differ."""
    if isinstance(expected, Parts):
        assert isinstance(answer, Parts)
        return max(deviation(a, b) for a, b in zip(answer, expected, strict=True))
    assert isinstance(answer, Tensor)
    if answer.shape != expected.shape:
        return float("inf")
    answer, expected = answer.double(), expected.double()
    finite = expected.isfinite()
    if not torch.equal(answer[~finite], expected[~finite]):
        return float("inf")
    off = (answer - expected).abs()[finite] / (1 + expected.abs()[finite])
    return float(off.nan_to_num(float("inf"), float("inf")).max()) if off.numel() else 0.0


def agree(answers: Sequence[Answer], truth: dense.Maps, asked: Sequence[Term], dtype: torch.dtype) -> None:
    """Compare answers with the oracle's, and name the term that is off."""
    for answer, term in zip(answers, asked, strict=True):
        off = deviation(answer, dense.answer(truth, term))
        # The fused way counts scores from the first key's, which doubles what they may be, and their rounding with it.
        limit = TOLERANCE[dtype] * (2 if isinstance(term, Score) else 1)
        assert off <= limit, f"{type(term).__name__} is off by {off:.1e}"
