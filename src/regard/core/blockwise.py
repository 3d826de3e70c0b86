"""Terms answered by blocks of queries: exact rows, one exponential for everything asked, memory O(block * key).

Takes every mask, bias, softcap, sink, extra key, law of the scores and change of the weights, on every device, and is
differentiable: under autograd each block is recomputed in the backward pass, so that memory stays linear there too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor
from torch.nn.functional import dropout
from torch.utils.checkpoint import checkpoint

from .effects import WeightEffect
from .mask import Span
from .operands import Operands
from .scores import MASKED, beside, by_laws, scores, values, values_beside
from .terms import Answer, Block, Col, Far, Lse, Part, Parts, Row, Rows, Score, Term, Top, Without

BLOCK_ELEMENTS = 1 << 20
"""Weights held at once. Blocks that stay in cache beat larger ones on CPUs."""
ROWS = 16
"""Of many heads and keys such a block has too few rows to make products of: then it is up to four times as large."""


@dataclass(frozen=True, eq=False)
class Output(Term):
    """The attention output itself, [batch, head, query, value_dim], with dropout if the call has any."""


@dataclass(frozen=True, eq=False)
class Changed(Term):
    """The rows that the last effect has changed, [batch, head, query] bool."""


@dataclass(frozen=True, eq=False)
class _Weights:
    """One block of weights, `A = e * inverse`, kept unnormalised so that one exponential serves all terms.

    `extra` are those of the extra keys; `changed` [batch, head, row] are the rows that the last effect has changed.
    """

    e: Tensor
    inverse: Tensor
    lse: Tensor
    score: Tensor | None
    extra: Tensor | None
    changed: Tensor | None
    block: Block

    @property
    def full(self) -> Tensor:
        return self.e * self.inverse[..., None]


def attend(op: Operands) -> tuple[Tensor, Tensor]:
    """Return output [batch, head, query, value_dim] and log-sum-exp [batch, head, query], in the working dtype."""
    out, lse = answer(op, (), (Output(), Lse()))
    assert isinstance(out, Tensor) and isinstance(lse, Tensor)
    return out, lse


def blocks(op: Operands, whole_rows: bool = False) -> list[tuple[Span, Span]]:
    """Cut the queries into blocks; return the range of each, and of the keys that it sees."""
    row = op.batch * op.heads * op.k_len
    step = max(1, BLOCK_ELEMENTS // row, min(ROWS, 4 * BLOCK_ELEMENTS // row))
    result = []
    for start in range(0, op.q_len, step):
        rows = (start, min(start + step, op.q_len))
        lo, hi = (0, op.k_len) if whole_rows else op.mask.span(rows)
        result.append((rows, (lo, max(hi, lo + 1))))  # a block in which every row is dead still has its shape
    return result


def answer(op: Operands, edits: Sequence[WeightEffect], terms: Sequence[Term]) -> list[Answer]:
    """Answer all terms about the attention of `op`, its weights as changed by `edits`, in one pass over blocks."""
    if op.q_len == 0 or op.k_len == 0:
        raise ValueError(f"an attention over {op.q_len} queries and {op.k_len} keys has no rows to ask about")
    k, v = op.k.to(op.work_dtype), op.v.to(op.work_dtype)
    columns = [
        torch.zeros(op.batch, op.heads, op.k_len, dtype=op.work_dtype, device=op.q.device)
        for term in terms
        if isinstance(term, Col)
    ]
    recompute = torch.is_grad_enabled() and (op.needs_grad or bool(edits) or any(map(_may_need_grad, terms)))
    by_rows: list[list[Answer]] = []
    for rows, cols in blocks(op, any(edit.whole_rows for edit in edits)):

        def block(rows: Span = rows, cols: Span = cols) -> list[Answer]:
            return _block(op, k, v, edits, terms, rows, cols)

        answers = checkpoint(block, use_reentrant=False, preserve_rng_state=op.dropout > 0) if recompute else block()
        sums = [a for a, term in zip(answers, terms, strict=True) if isinstance(term, Col)]
        for total, part in zip(columns, sums, strict=True):
            total[..., cols[0] : cols[1]] += part
        by_rows.append([a for a, term in zip(answers, terms, strict=True) if not isinstance(term, Col)])
    joined = iter([_join(parts) for parts in zip(*by_rows, strict=True)])
    summed = iter(columns)
    return [next(summed) if isinstance(term, Col) else next(joined) for term in terms]


def _may_need_grad(term: Term) -> bool:
    match term:
        case Row(probe) | Col(probe):
            return probe is not None and probe.requires_grad
    return isinstance(term, Rows)


def _join(parts: Sequence[Answer]) -> Answer:
    if isinstance(parts[0], Parts):
        return Parts(*(torch.cat(tensors, dim=2) for tensors in zip(*parts, strict=True)))
    return torch.cat([part for part in parts if isinstance(part, Tensor)], dim=2)


def _block(
    op: Operands, k: Tensor, v: Tensor, edits: Sequence[WeightEffect], terms: Sequence[Term], rows: Span, cols: Span
) -> list[Answer]:
    w = _weights(op, k, edits, rows, cols, terms)
    row_answers = iter(_rows(w, [term.f for term in terms if isinstance(term, Row)]))
    answers: list[Answer] = []
    for term in terms:
        match term:
            case Lse():
                answers.append(w.lse)
            case Score():
                assert w.score is not None
                answers.append(w.score)
            case Top():
                answers.append(w.e.amax(-1) * w.inverse)
            case Row():
                answers.append(next(row_answers))
            case Col(g):
                answers.append(_column_sum(w, g))
            case Far(x, y):
                answers.append(torch.linalg.vecdot(w.e, _apart(w, x, y)) * w.inverse)
            case Part(labels, n):
                answers.append(_parts(w, v, labels, n))
            case Rows(fn):
                answers.append(fn(w.full, w.block))
            case Without(hidden, about):
                answers.append(_without(w, hidden, about))
            case Output():
                answers.append(_output(op, w, v))
            case Changed():
                assert w.changed is not None
                answers.append(w.changed)
            case _:
                raise TypeError(f"no blockwise answer to {type(term).__name__}")
    return answers


def _weights(
    op: Operands, k: Tensor, edits: Sequence[WeightEffect], rows: Span, cols: Span, terms: Sequence[Term]
) -> _Weights:
    want_score = any(isinstance(term, Score) for term in terms)
    s, changed = scores(op, k[:, :, cols[0] : cols[1]], rows, cols), None
    block = Block(None, rows, cols)
    if op.laws:
        s, changed = by_laws(op, s, block)
    if edits or any(isinstance(term, Rows) for term in terms):
        block = block._replace(seen=s > MASKED / 2)
    others = beside(op, rows)
    shift = s.detach().amax(-1)
    if others is not None:
        shift = torch.maximum(shift, others.detach().amax(-1))
    dead = shift <= MASKED / 2
    s = s - shift[..., None] if s.requires_grad else s.sub_(shift[..., None])
    e = s.exp()
    mass = z = e.sum(-1)
    extra = None
    if others is not None:
        others = torch.exp(others - shift[..., None])
        z = mass + others.sum(-1)
        extra = others if op.sink is None else others[..., :-1]
    log_z = z.log()
    inverse = torch.where(dead, 0.0, 1 / z)
    lse = torch.where(dead, float("-inf"), shift + log_z)
    if edits:
        a = before = e * inverse[..., None]
        extra = None if extra is None else extra * inverse[..., None]
        for edit in edits:
            before, a = a, edit.on_weights(a, block)
            extra = None if extra is None else edit.on_extra(extra, before, block)
        # Not entr(a), whose gradient at a weight of 0 is infinite.
        score = torch.linalg.vecdot(a, torch.where(a == 0, 1.0, a).log()) if want_score else None
        return _Weights(a, torch.ones_like(inverse), lse, score, extra, (a != before).any(-1), block)
    # With scores counted from the row's maximum this is minus a sum of two non-negative numbers: nothing cancels.
    score = (torch.linalg.vecdot(e, s) - mass * log_z) * inverse if want_score else None
    return _Weights(e, inverse, lse, score, extra, changed, block)


def _output(op: Operands, w: _Weights, v: Tensor) -> Tensor:
    out = values(dropout(w.e, op.dropout), v[:, :, slice(*w.block.cols)])
    others = values_beside(op)
    if others is not None:
        assert w.extra is not None
        out = out + values(dropout(w.extra, op.dropout), others)
    return out * w.inverse[..., None]


def _rows(w: _Weights, functionals: Sequence[Tensor]) -> list[Tensor]:
    """Answer row functionals with one product per kind of functional (shared, per example, per head)."""
    kinds = [(f.ndim, f.shape[1] if f.ndim == 4 else 1) for f in functionals]
    order = sorted(range(len(functionals)), key=lambda i: kinds[i])
    answers: dict[int, Tensor] = {}
    b, h, r, n = w.e.shape
    for (ndim, _), members in groupby(order, key=lambda i: kinds[i]):
        indices = list(members)
        fs = [functionals[i][..., w.block.cols[0] : w.block.cols[1], :].to(w.e.dtype) for i in indices]
        packed = torch.cat(fs, -1) if len(fs) > 1 else fs[0]
        product = values(w.e, packed) if ndim == 4 else (w.e.reshape(b, h * r, n) @ packed).view(b, h, r, -1)
        split = (product * w.inverse[..., None]).split([f.shape[-1] for f in fs], -1)
        answers |= dict(zip(indices, split, strict=True))
    return [answers[i] for i in range(len(functionals))]


def _column_sum(w: _Weights, g: Tensor | None) -> Tensor:
    weight = w.inverse
    if g is not None:
        rows = g[..., w.block.rows[0] : w.block.rows[1]]
        weight = weight * (rows if g.ndim == 3 else rows[:, None]).to(weight.dtype)
    return (weight[..., None, :] @ w.e).squeeze(-2)


def _without(w: _Weights, hidden: Tensor, about: Score | Top | Row | Far) -> Tensor:
    """Answer a term about a block's weights renormalised without some keys."""
    e = w.full.masked_fill(hidden[:, None, None, slice(*w.block.cols)], 0.0)
    mass = e.sum(-1, keepdim=True)
    a = e / mass.where(mass > 0, 1.0)
    match about:
        case Score():
            return torch.linalg.vecdot(a, torch.where(a == 0, 1.0, a).log())
        case Top():
            return a.amax(-1)
        case Row():
            return _rows(replace(w, e=a, inverse=torch.ones_like(w.inverse)), [about.f])[0]
        case Far(x, y):
            return torch.linalg.vecdot(a, _apart(w, x, y))


def _apart(w: _Weights, x: Tensor, y: Tensor) -> Tensor:
    return (x[:, None, slice(*w.block.rows), None] - y[:, None, None, slice(*w.block.cols)]).abs().to(w.e.dtype)


def _parts(w: _Weights, v: Tensor, labels: Tensor, n: int) -> Parts:
    lo, hi = w.block.cols
    chosen = torch.stack([labels[:, lo:hi] == s for s in range(n)]).to(w.e.dtype)[:, :, None, None]
    masked = [w.e * one for one in chosen]
    mass = torch.stack([e.sum(-1) for e in masked], -1) * w.inverse[..., None]
    out = torch.stack([values(e, v[:, :, lo:hi]) for e in masked], -2) * w.inverse[..., None, None]
    return Parts(mass, out)
