"""Effects of every kind, drawn by hypothesis: as strong as may be, and neutral."""

from dataclasses import replace

import strategies as draws
import torch
from hypothesis import strategies as st
from torch import Tensor

from regard.core.effects import (
    STAGES,
    Bias,
    Blend,
    Block,
    Effect,
    ExtraKV,
    KeyScale,
    Mix,
    Out,
    Output,
    Replace,
    Rewrite,
    SetScores,
)
from regard.core.operands import Extra, Operands
from regard.core.terms import Block as At

RENORMALISE = st.sampled_from([False, "mass", "one"])
STAGE = {
    "queries": "inputs",
    "keys": "inputs",
    "extra": "inputs",
    "bias": "scores",
    "rectangle": "scores",
    "block": "scores",
    "law": "scores",
    "mix": "weights",
    "key scale": "weights",
    "identity": "weights",
    "uniform": "weights",
    "rewrite": "weights",
    "scale": "outputs",
    "patch": "outputs",
    "output": "outputs",
}
KINDS = list(STAGE)


def in_order(kinds: tuple[str, ...]) -> bool:
    """Say whether effects of these kinds go forward through the stages."""
    at = [STAGES.index(STAGE[kind]) for kind in kinds]
    return at == sorted(at)


def sharpened(scores: Tensor, block: At) -> Tensor:
    """A law that knows where it is: another temperature for every head and query."""
    heads = torch.arange(scores.shape[1]) if block.heads is None else block.heads
    factor = 1 + heads[:, None] / 4 + torch.arange(*block.rows) % 3
    return scores * factor[..., None].to(scores.dtype)


def rolled(weights: Tensor, block: At) -> Tensor:
    """A rewriting that knows where it is, and what the query sees: half of each row, spread by a rule of position."""
    heads = torch.arange(weights.shape[1]) if block.heads is None else block.heads
    at = torch.arange(*block.cols) + torch.arange(*block.rows)[:, None] + heads[:, None, None]
    assert block.seen is not None
    return weights / 2 + (at % 3 == 0).to(weights.dtype) * block.seen / (1 + at)


def unchanged(values: Tensor, block: At) -> Tensor:
    return values


@st.composite
def with_extra(draw: st.DrawFn, op: Operands) -> Operands:
    """Give an attention extra keys, seen by all rows or by some."""
    normal = draw(draws.sources(op.q.dtype))
    n, kv = draw(st.integers(1, 3)), draw(st.sampled_from([op.k.shape[1], op.heads]))
    k, v = normal(1, kv, n, op.q.shape[-1]), normal(op.batch, kv, n, op.v.shape[-1])
    rows = draw(st.sampled_from([None, normal(op.batch, 1, op.q_len) > 0]))
    return replace(op, extra=(*op.extra, Extra(k, v, rows)))


@st.composite
def effects(draw: st.DrawFn, op: Operands, kind: str) -> Effect:
    """Draw an effect on a whole attention, some of its axes broadcast."""
    normal = draw(draws.sources(op.q.dtype))
    b, h, q = (draw(st.sampled_from([1, size])) for size in (op.batch, op.heads, op.q_len))
    kv = draw(st.sampled_from([op.k.shape[1], op.heads]))
    match kind:
        case "queries":
            return Replace(q=normal(b, h, op.q_len, op.q.shape[-1]))
        case "keys":
            k, v = normal(b, kv, *op.k.shape[2:]), normal(b, kv, *op.v.shape[2:])
            return draw(st.sampled_from([Replace(k=k), Replace(v=v), Replace(k=k, v=v)]))
        case "extra":
            return ExtraKV(normal(b, kv, 2, op.q.shape[-1]), normal(1, kv, 2, op.v.shape[-1]))
        case "bias":
            bias = normal(b, h, q, op.k_len)
            return Bias(bias.masked_fill(normal(*bias.shape) > 1, float("-inf")) if draw(st.booleans()) else bias)
        case "rectangle":
            bias = normal(b, h, 1, op.k_len)
            bias = bias.masked_fill(normal(*bias.shape) > 1, float("-inf")) if draw(st.booleans()) else bias
            return Bias(bias, (normal(b, h, op.q_len) > 0).to(op.q.dtype) * 1.5)
        case "block":
            rows = draw(st.sampled_from([None, normal(op.batch, 1, op.q_len) > 0]))
            return Block(normal(b, h, op.k_len) > draw(st.sampled_from([-9.0, 0.5])), rows)
        case "law":
            return SetScores(sharpened)
        case "mix":
            part = draw(draws.labels(op))
            return Mix(part, (normal(b, h, q, part.n) + 0.5).clamp_min(0), draw(RENORMALISE))
        case "key scale":
            return KeyScale((normal(b, h, op.k_len) + 0.5).clamp_min(0), draw(RENORMALISE))
        case "identity":
            at = (normal(op.batch, op.q_len) * op.k_len).long().remainder(op.k_len + 1) - 1
            return Blend(draw(st.sampled_from([0.3, 1.0, normal(b, h, q).abs().clamp_max(1)])), at=at)
        case "uniform":
            return Blend(draw(st.sampled_from([0.3, 1.0, normal(b, h, q).abs().clamp_max(1)])), "uniform")
        case "rewrite":
            return Rewrite(rolled)
        case "scale":
            return Out(normal(b, h, q, 1))
        case "patch":
            value, add = normal(b, h, q, op.v.shape[-1]), normal(b, h, q, op.v.shape[-1])
            return draw(st.sampled_from([Out(value=value), Out(add=add), Out(0.5, value, add)]))
        case "output":
            return Output(normal(op.batch, op.heads, op.q_len, op.v.shape[-1]), normal(op.batch, op.heads, op.q_len))
    raise ValueError(kind)


@st.composite
def neutral(draw: st.DrawFn, op: Operands, kind: str) -> Effect:
    """Draw an effect at the strength at which it changes nothing."""
    zeros = torch.zeros(1, 1, 1, op.k_len, dtype=op.q.dtype)
    match kind:
        case "queries":
            return Replace(q=op.q.clone())
        case "keys":
            return Replace(k=op.k.clone(), v=op.v.clone())
        case "extra":
            return ExtraKV(op.k[:, :, :0], op.v[:, :, :0])
        case "bias":
            return Bias(zeros)
        case "rectangle":
            return Bias(zeros + float("-inf"), torch.zeros(1, 1, op.q_len))
        case "block":
            everything, nothing = torch.ones(1, 1, op.k_len) > 0, torch.zeros(1, 1, op.k_len) > 0
            return draw(st.sampled_from([Block(nothing), Block(everything, torch.zeros(1, 1, op.q_len) > 0)]))
        case "law":
            return SetScores(unchanged)
        case "mix":
            return Mix(draw(draws.labels(op)), torch.ones(1, 1, 1, 4), draw(RENORMALISE))
        case "key scale":
            return KeyScale(torch.ones(1, 1, op.k_len), draw(RENORMALISE))
        case "identity":
            at = torch.zeros(op.batch, op.q_len, dtype=torch.long)
            return draw(st.sampled_from([Blend(0.0, at=at), Blend(torch.zeros(1, 1, 1), at=at), Blend(0.7, at=at - 1)]))
        case "uniform":
            return Blend(0.0, "uniform")
        case "rewrite":
            return Rewrite(unchanged)
        case "scale":
            return Out()
        case "patch":
            return Out(torch.ones(1, 1, 1, 1), add=torch.zeros(1, 1, 1, 1))
        case "output":
            return Output(torch.zeros_like(op.q[..., :1]).expand(-1, -1, -1, op.v.shape[-1])).only(
                torch.zeros(1, 1, op.q_len) > 0
            )
    raise ValueError(kind)


@st.composite
def some_rows(draw: st.DrawFn, op: Operands, kind: str) -> Tensor:
    """Draw the rows on which an effect of a kind may act, [batch, head or 1, query] bool."""
    heads = draw(st.sampled_from([1, op.heads]))
    queries = 1 if kind == "keys" else op.q_len  # keys serve all queries
    rows = draw(draws.sources())(op.batch, heads, queries) > 0
    return rows.expand(-1, -1, op.q_len)
