"""The oracle: textbook attention with the whole [query, key] map held, slow and obvious.

Every fast path is tested against it. It is the default of nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .effects import Effect
from .operands import Operands
from .terms import Answer, Block, Col, Lse, Part, Parts, Row, Rows, Score, Term


@dataclass(frozen=True, eq=False)
class Maps:
    """All of one attention: scores and weights [batch, head, query, key], lse [batch, head, query], v and out per query head."""

    scores: Tensor
    lse: Tensor
    weights: Tensor
    v: Tensor
    out: Tensor


def maps(op: Operands, effects: Sequence[Effect] = ()) -> Maps:
    """Compute scores, weights and output densely, with effects applied in the order given."""
    k = op.k.repeat_interleave(op.groups, dim=1)
    v = op.v.repeat_interleave(op.groups, dim=1)
    scores = op.scale * (op.q @ k.transpose(-1, -2))
    if op.softcap is not None:
        scores = op.softcap * torch.tanh(scores / op.softcap)
    if op.bias is not None:
        scores = scores + op.bias
    everything: tuple[tuple[int, int], tuple[int, int]] = ((0, op.q_len), (0, op.k_len))
    added = op.mask.added(*everything)
    if added is not None:
        scores = scores + added
    allowed = op.mask.allowed(*everything)
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    for effect in effects:
        scores = effect.on_scores(scores)
    sink = op.row_sink()
    full = scores if sink is None else torch.cat([scores, sink[..., None].expand(*scores.shape[:3], 1)], -1)
    lse = torch.logsumexp(full, -1)
    dead = torch.isneginf(scores).all(-1)
    weights = torch.exp(scores - lse[..., None]).masked_fill(dead[..., None], 0.0)
    if sink is None:
        lse = lse.masked_fill(dead, float("-inf"))
    for effect in effects:
        weights = effect.on_weights(weights)
    out = weights @ v
    for effect in effects:
        out = effect.on_output(out)
    return Maps(scores, lse, weights, v, out)


def answer(m: Maps, term: Term) -> Answer:
    """Answer one term from the maps."""
    a = m.weights
    match term:
        case Lse():
            return m.lse
        case Score():
            return torch.where(a == 0, 0.0, a * a.log()).sum(-1)
        case Row(f):
            return a @ (f[:, None] if f.ndim == 3 else f).to(a.dtype)
        case Col(g):
            if g is None:
                return a.sum(2)
            g = g if g.ndim == 3 else g[:, None]
            return (a * g[..., None]).sum(2)
        case Part(labels, n):
            chosen = torch.stack([labels == s for s in range(n)], -1).to(a.dtype)  # [batch, key, segment]
            mass = a @ chosen[:, None]
            out = torch.einsum("bhqk,bks,bhkd->bhqsd", a, chosen, m.v)
            return Parts(mass, out)
        case Rows(fn):
            return fn(a, Block(None, (0, a.shape[2]), (0, a.shape[3])))
    raise TypeError(f"no dense answer to {type(term).__name__}")
