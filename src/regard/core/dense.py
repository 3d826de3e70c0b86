"""The oracle: textbook attention with the whole [query, key] map held, slow and obvious.

Every fast path is tested against it. It is the default of nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import dropout

from .effects import Effect, Output, ScoreEffect, WeightEffect
from .effects.inputs import InputEffect
from .effects.outputs import OutputEffect
from .operands import Operands
from .terms import Answer, Attend, Attended, Block, Col, Far, Lse, Part, Parts, Row, Rows, Score, Term, Top, Without


@dataclass(frozen=True, eq=False)
class Maps:
    """All of one attention: scores and weights [batch, head, query, key], lse [batch, head, query], v and out per query head.

    `op` are the operands after effects on inputs; `seen` [batch, head, query, key] says which keys each query sees.
    """

    op: Operands
    scores: Tensor
    seen: Tensor
    lse: Tensor
    weights: Tensor
    v: Tensor
    out: Tensor


def maps(op: Operands, effects: Sequence[Effect] = ()) -> Maps:
    """Compute scores, weights and output densely, with effects applied by stage and then in the order given."""
    for effect in effects:
        if isinstance(effect, InputEffect):
            op = effect.on_operands(op)
    v = _each_head(op.v, op)
    block = Block(None, (0, op.q_len), (0, op.k_len))
    scores = _products(op, op.k)
    if op.bias is not None:
        scores = scores + op.bias
    added = op.mask.added(block.rows, block.cols)
    if added is not None:
        scores = scores + added
    allowed = op.mask.allowed(block.rows, block.cols)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    for law in (*op.laws, *(effect for effect in effects if isinstance(effect, ScoreEffect))):
        scores = law.on_scores(scores, block)

    # What takes mass beside the keys of the call: extra keys, with values, and sink logits, without.
    extra_scores, extra_v = scores[..., :0], v[:, :, :0]
    for extra in op.extra:
        s = _products(op, extra.k)
        s = s if extra.rows is None else s.masked_fill(~extra.rows[..., None], float("-inf"))
        extra_scores = torch.cat([extra_scores, s], -1)
        extra_v = torch.cat([extra_v, _each_head(extra.v, op)], 2)
    full = torch.cat([scores, extra_scores], -1)
    sink = op.row_sink()
    if sink is not None:
        full = torch.cat([full, sink[..., None].expand(*scores.shape[:3], 1)], -1)
    dead = torch.isneginf(full).all(-1)
    base = torch.logsumexp(full.masked_fill(dead[..., None], 0.0), -1)  # that of -inf alone has a gradient of NaN
    every = torch.exp(full - base[..., None])
    lse = base.masked_fill(dead, float("-inf"))
    weights, extra_weights = every[..., : op.k_len], every[..., op.k_len : op.k_len + extra_v.shape[2]]

    seen = ~torch.isneginf(scores)
    for effect in effects:
        if isinstance(effect, WeightEffect):
            before = weights
            weights = effect.on_weights(before, block._replace(seen=seen))
            extra_weights = effect.on_extra(extra_weights, before, block._replace(seen=seen))
    out = dropout(weights, op.dropout) @ v + dropout(extra_weights, op.dropout) @ extra_v
    for effect in effects:
        if isinstance(effect, OutputEffect):
            out = effect.on_output(out)
        if isinstance(effect, Output) and effect.lse is not None:
            lse = effect.on_lse(lse)
    return Maps(op, scores, seen, lse, weights, v, out)


def _each_head(tensor: Tensor, op: Operands) -> Tensor:
    return tensor.expand(op.batch, -1, -1, -1).repeat_interleave(op.heads // tensor.shape[1], dim=1)


def _products(op: Operands, k: Tensor) -> Tensor:
    scores = op.scale * (op.q @ _each_head(k, op).transpose(-1, -2))
    return scores if op.softcap is None else op.softcap * torch.tanh(scores / op.softcap)


def answer(m: Maps, term: Term) -> Answer:
    """Answer one term from the maps."""
    a = m.weights
    match term:
        case Lse():
            return m.lse
        case Score():
            return (a * torch.where(a == 0, 1.0, a).log()).sum(-1)  # a weight of 0 adds 0, to the gradient as well
        case Top():
            return a.amax(-1)
        case Row(f):
            f = f[:, None] if f.ndim == 3 else _each_head(f, m.op) if f.ndim == 4 else f
            return a @ f.to(a.dtype)
        case Far(x, y):
            return (a * (x[:, None, :, None] - y[:, None, None]).abs().to(a.dtype)).sum(-1)
        case Col(g):
            if g is None:
                return a.sum(2)
            g = g if g.ndim == 3 else g[:, None]
            return (a * g[..., None]).sum(2)
        case Part(labels, n):
            chosen = torch.stack([labels == s for s in range(n)], -1).to(a.dtype)  # [batch, key, segment]
            mass = a @ chosen[:, None]
            out = torch.einsum("bhqk,bks,bhkd->bhqsd", a, chosen.expand(a.shape[0], -1, -1), m.v)
            return Parts(mass, out)
        case Without(hidden, about):
            left = a.masked_fill(hidden[:, None, None], 0.0)
            mass = left.sum(-1, keepdim=True)
            return answer(replace(m, weights=left / mass.where(mass > 0, 1.0)), about)
        case Rows(fn):
            return fn(a, Block(None, (0, a.shape[2]), (0, a.shape[3]), m.seen))
        case Attend(k, v, mask, bias):
            other = maps(m.op.over(k, v, mask, bias))
            return Attended(other.out, other.lse)
    raise TypeError(f"no dense answer to {type(term).__name__}")
