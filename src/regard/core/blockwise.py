"""Terms answered by blocks of queries: exact rows, one exponential for everything asked, memory O(block * key).

Takes every mask, bias, softcap and sink, on every device, and is differentiable: under autograd each block is
recomputed in the backward pass, so that memory stays linear there too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .effects import Mix
from .mask import Span, pick
from .operands import Operands
from .terms import Answer, Block, Col, Lse, Part, Parts, Row, Rows, Score, Term

MASKED = -1e30
"""Stands for a score of -inf inside a block: its exponential is 0, and 0 times it is 0 instead of NaN."""
BLOCK_ELEMENTS = 1 << 20
"""Weights held at once. Blocks that stay in cache beat larger ones on CPUs."""


@dataclass(frozen=True, eq=False)
class Output(Term):
    """The attention output itself, [batch, head, query, value_dim]; only `attend` asks for it."""


@dataclass(frozen=True, eq=False)
class _Weights:
    """One block of weights, `A = e * inverse`, kept unnormalised so that one exponential serves all terms."""

    e: Tensor
    inverse: Tensor
    lse: Tensor
    score: Tensor | None
    block: Block

    @property
    def full(self) -> Tensor:
        return self.e * self.inverse[..., None]


def attend(op: Operands) -> tuple[Tensor, Tensor]:
    """Return output [batch, head, query, value_dim] and log-sum-exp [batch, head, query], in the working dtype."""
    out, lse = answer(op, (), (Output(), Lse()))
    assert isinstance(out, Tensor) and isinstance(lse, Tensor)
    return out, lse


def answer(op: Operands, mixes: Sequence[Mix], terms: Sequence[Term]) -> list[Answer]:
    """Answer all terms about the attention of `op`, as changed by `mixes`, in one pass over blocks of queries."""
    if op.q_len == 0 or op.k_len == 0:
        raise ValueError(f"an attention over {op.q_len} queries and {op.k_len} keys has no rows to ask about")
    k, v = op.k.to(op.work_dtype), op.v.to(op.work_dtype)
    step = max(1, min(op.q_len, BLOCK_ELEMENTS // (op.batch * op.heads * op.k_len)))
    columns = [
        torch.zeros(op.batch, op.heads, op.k_len, dtype=op.work_dtype, device=op.q.device)
        for term in terms
        if isinstance(term, Col)
    ]
    by_rows: list[list[Tensor | Parts]] = []
    for start in range(0, op.q_len, step):
        rows = (start, min(start + step, op.q_len))
        lo, hi = op.mask.span(rows)
        cols = (lo, max(hi, lo + 1))  # a block in which every row is dead still has its shape

        def block(rows: Span = rows, cols: Span = cols) -> list[Answer]:
            return _block(op, k, v, mixes, terms, rows, cols)

        answers = checkpoint(block, use_reentrant=False) if op.needs_grad else block()
        sums = [a for a, term in zip(answers, terms, strict=True) if isinstance(term, Col)]
        for total, part in zip(columns, sums, strict=True):
            total[..., cols[0] : cols[1]] += part
        by_rows.append([a for a, term in zip(answers, terms, strict=True) if not isinstance(term, Col)])
    joined = iter([_join(parts) for parts in zip(*by_rows, strict=True)])
    summed = iter(columns)
    return [next(summed) if isinstance(term, Col) else next(joined) for term in terms]


def _join(parts: Sequence[Answer]) -> Answer:
    if isinstance(parts[0], Parts):
        return Parts(*(torch.cat(tensors, dim=2) for tensors in zip(*parts, strict=True)))
    return torch.cat([part for part in parts if isinstance(part, Tensor)], dim=2)


def _block(
    op: Operands, k: Tensor, v: Tensor, mixes: Sequence[Mix], terms: Sequence[Term], rows: Span, cols: Span
) -> list[Answer]:
    w = _weights(op, k, mixes, rows, cols, any(isinstance(term, Score) for term in terms))
    row_answers = iter(_rows(w, [term.f for term in terms if isinstance(term, Row)]))
    answers: list[Answer] = []
    for term in terms:
        match term:
            case Lse():
                answers.append(w.lse)
            case Score():
                assert w.score is not None
                answers.append(w.score)
            case Row():
                answers.append(next(row_answers))
            case Col(g):
                answers.append(_column_sum(w, g))
            case Part(labels, n):
                answers.append(_parts(w, v, labels, n))
            case Rows(fn):
                answers.append(fn(w.full, w.block))
            case Output():
                answers.append(values(w.e, v[:, :, cols[0] : cols[1]]) * w.inverse[..., None])
            case _:
                raise TypeError(f"no blockwise answer to {type(term).__name__}")
    return answers


def scores(op: Operands, k: Tensor, rows: Span, cols: Span | Tensor) -> Tensor:
    """Return the scores of a block, [batch, head, row, col], MASKED where the mask or a bias of -inf forbids.

    k [batch, kv_head, col, dim] are the keys at `cols` (a range, or indices [batch, col]), in the working dtype.
    """
    r = rows[1] - rows[0]
    q = op.q[:, :, rows[0] : rows[1]].to(op.work_dtype) * op.scale
    grouped = q.reshape(op.batch, k.shape[1], op.groups * r, q.shape[-1])
    s = (grouped @ k.transpose(-1, -2)).view(op.batch, op.heads, r, k.shape[2])
    if op.softcap is not None:
        s = op.softcap * torch.tanh(s / op.softcap)
    bias = op.bias
    if bias is not None:
        s = s + pick(bias[:, :, rows[0] : rows[1]] if bias.shape[2] > 1 else bias, cols).to(s.dtype)
    added = op.mask.added(rows, cols)
    if added is not None:
        s = s + added.to(s.dtype)
    if bias is not None or added is not None:
        s = s.clamp_min(MASKED)
    allowed = op.mask.allowed(rows, cols)
    return s if allowed is None else s.masked_fill(~allowed, MASKED)


def _weights(op: Operands, k: Tensor, mixes: Sequence[Mix], rows: Span, cols: Span, want_score: bool) -> _Weights:
    s = scores(op, k[:, :, cols[0] : cols[1]], rows, cols)
    shift = s.detach().amax(-1)
    sink = op.row_sink()
    if sink is not None:
        sink = (sink[:, :, rows[0] : rows[1]] if sink.shape[-1] > 1 else sink).to(s.dtype)
        shift = torch.maximum(shift, sink.detach())
    dead = shift <= MASKED / 2
    s = s - shift[..., None] if op.needs_grad else s.sub_(shift[..., None])
    e = s.exp()
    mass = e.sum(-1)
    z = mass if sink is None else mass + torch.exp(sink - shift)
    log_z = z.log()
    inverse = torch.where(dead, 0.0, 1 / z)
    lse = torch.where(dead, float("-inf"), shift + log_z)
    block = Block(None, rows, cols)
    if mixes:
        a = e * inverse[..., None]
        for mix in mixes:
            a = mix.select(None, slice(*rows)).narrow(cols).on_weights(a)
        score = -torch.special.entr(a).sum(-1) if want_score else None
        return _Weights(a, torch.ones_like(inverse), lse, score, block)
    # With scores counted from the row's maximum this is minus a sum of two non-negative numbers: nothing cancels.
    score = (torch.linalg.vecdot(e, s) - mass * log_z) * inverse if want_score else None
    return _Weights(e, inverse, lse, score, block)


def _rows(w: _Weights, functionals: Sequence[Tensor]) -> list[Tensor]:
    """Answer row functionals with one product per kind of functional (shared, per example, per head)."""
    order = sorted(range(len(functionals)), key=lambda i: functionals[i].ndim)
    answers: dict[int, Tensor] = {}
    b, h, r, n = w.e.shape
    for ndim, members in groupby(order, key=lambda i: functionals[i].ndim):
        indices = list(members)
        fs = [functionals[i][..., w.block.cols[0] : w.block.cols[1], :].to(w.e.dtype) for i in indices]
        packed = torch.cat(fs, -1) if len(fs) > 1 else fs[0]
        e = w.e.reshape(b, h * r, n) if ndim < 4 else w.e
        product = (e @ packed).view(b, h, r, -1) * w.inverse[..., None]
        answers |= dict(zip(indices, product.split([f.shape[-1] for f in fs], -1), strict=True))
    return [answers[i] for i in range(len(functionals))]


def _column_sum(w: _Weights, g: Tensor | None) -> Tensor:
    weight = w.inverse
    if g is not None:
        rows = g[..., w.block.rows[0] : w.block.rows[1]]
        weight = weight * (rows if g.ndim == 3 else rows[:, None]).to(weight.dtype)
    return (weight[..., None, :] @ w.e).squeeze(-2)


def values(e: Tensor, v: Tensor) -> Tensor:
    """Multiply unnormalised weights [batch, head, row, col] by values [batch, kv_head, col, value_dim]."""
    b, h, r, n = e.shape
    return (e.reshape(b, v.shape[1], -1, n) @ v).view(b, h, r, -1)


def _parts(w: _Weights, v: Tensor, labels: Tensor, n: int) -> Parts:
    lo, hi = w.block.cols
    chosen = torch.stack([labels[:, lo:hi] == s for s in range(n)]).to(w.e.dtype)[:, :, None, None]
    masked = [w.e * one for one in chosen]
    mass = torch.stack([e.sum(-1) for e in masked], -1) * w.inverse[..., None]
    out = torch.stack([values(e, v[:, :, lo:hi]) for e in masked], -2) * w.inverse[..., None, None]
    return Parts(mass, out)
