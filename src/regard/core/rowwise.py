"""Terms answered by a kernel of our own that computes whole rows, a block at a time: everything asked, in one pass.

It needs rows whose keys lie side by side, and takes grouped heads, padded keys, biases of keys, sinks and extra keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..kernels import rows_cpu, rows_triton
from ..kernels.rows import MASKED, Answered, Asked
from .operands import Operands
from .scores import beside, with_extra
from .terms import Answer, Col, Far, Lse, Row, Score, Term, Top

KERNELS = (rows_cpu, rows_triton)
NARROW = min(kernel.FUNCTIONALS for kernel in KERNELS)
"""Functionals that one pass takes; a term of more is attended to in the place of values."""
QUERIES = 16
"""Fewer queries leave most of a block empty."""


def supports(op: Operands) -> bool:
    """Say whether a kernel computes these weights exactly, and is worth it."""
    plain = not op.laws and not op.needs_grad and (op.bias is None or op.key_bias() is not None)
    return (
        plain
        and op.q_len >= QUERIES
        and op.k_len > 0
        and any(kernel.supports(op.q) for kernel in KERNELS)
        and op.mask.bounds is not None
    )


def answers(term: Term) -> bool:
    """Say whether the kernel answers such a term."""
    return isinstance(term, Lse | Score | Top | Row | Far | Col)


def attend(op: Operands) -> tuple[Tensor, Tensor]:
    """Return output [batch, head, query, value_dim] and log-sum-exp [batch, head, query], in float32, without dropout."""
    got = _rows(replace(_asked(op), v=op.v))
    assert got.out is not None
    return with_extra(op, got.out, got.lse), got.lse


def answer(op: Operands, terms: Sequence[Term]) -> list[Answer]:
    """Answer terms about the attention of `op`, in as many passes as they need: most often one."""
    passes = [_Pass()]
    for term in terms:
        taken = next((one for one in passes if one.takes(term)), None)
        if taken is None:
            passes.append(taken := _Pass())
        taken.terms.append(term)
    base = _asked(op)
    found = {term: answer for one in passes for term, answer in one.run(op, base).items()}
    return [found[term] for term in terms]


def attend_to(op: Operands, keys: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return output and log-sum-exp of attending to some keys alone, ascending indices [batch, n], where they are `real`."""
    base = _asked(op)
    # Keys that lie side by side still do when others are left out, so a query sees a range of them.
    lo, hi = (torch.searchsorted(keys, bound.expand(op.batch, -1).contiguous()).int() for bound in (base.lo, base.hi))
    index = keys[:, None]
    bias = torch.zeros(1, 1, op.k_len, device=op.q.device) if base.bias is None else base.bias
    bias = bias.expand(op.batch, -1, -1).gather(2, index.expand(-1, bias.shape[1], -1))

    def of(tensor: Tensor) -> Tensor:
        return tensor.gather(2, index[..., None].expand(-1, tensor.shape[1], -1, tensor.shape[-1]))

    bias = bias.masked_fill(~real[:, None], MASKED)
    got = _rows(Asked(op.q, of(op.k), of(op.v), op.scale, lo, hi, op.softcap, bias))
    assert got.out is not None
    return got.out, got.lse


@dataclass
class _Pass:
    """Terms that one pass of the kernel answers."""

    terms: list[Term] = field(default_factory=list)

    def takes(self, term: Term) -> bool:
        """Say whether there is room for a term."""
        match term:
            case Row(f) if f.shape[-1] > NARROW:
                return self.wide is None
            case Row(f):
                return sum(row.f.shape[-1] for row in self.narrow) + f.shape[-1] <= NARROW
            case Far():
                return self.far is None
        return True

    @property
    def wide(self) -> Row | None:
        return next((term for term in self.terms if isinstance(term, Row) and term.f.shape[-1] > NARROW), None)

    @property
    def narrow(self) -> list[Row]:
        return [term for term in self.terms if isinstance(term, Row) and term.f.shape[-1] <= NARROW]

    @property
    def far(self) -> Far | None:
        return next((term for term in self.terms if isinstance(term, Far)), None)

    def run(self, op: Operands, base: Asked) -> dict[Term, Answer]:
        """Return the answers."""
        columns = [term for term in self.terms if isinstance(term, Col)]
        asked = replace(
            base,
            v=None if self.wide is None else _by_head(self.wide.f),
            f=_functionals(op, self.narrow) if self.narrow else None,
            g=torch.stack([_of_queries(op, term) for term in columns]) if columns else None,
            places=None if self.far is None else (self.far.x.float(), self.far.y.float()),
            score=any(isinstance(term, Score) for term in self.terms),
            top=any(isinstance(term, Top) for term in self.terms),
        )
        got = _rows(asked)
        split = iter(() if got.row is None else got.row.split([term.f.shape[-1] for term in self.narrow], -1))
        summed = iter(() if got.col is None else got.col)
        found: dict[Term, Answer] = {}
        for term in self.terms:
            match term:
                case Lse():
                    value: Tensor | None = got.lse
                case Score():
                    value = got.score
                case Top():
                    value = got.top
                case Far():
                    value = got.apart
                case Col():
                    value = next(summed)
                case _:
                    value = got.out if term is self.wide else next(split)
            assert value is not None
            found[term] = value
        return found


def _asked(op: Operands) -> Asked:
    """The attention itself, with nothing asked but its log-sum-exp."""
    assert op.mask.bounds is not None
    lo, hi = op.mask.bounds
    bias = op.key_bias()
    added = None if bias is None else bias[:, :, 0].float().clamp_min(MASKED)
    if op.mask.keys is not None:
        added = torch.where(op.mask.keys_by_head, 0.0 if added is None else added, MASKED)
    others = beside(op, (0, op.q_len))
    aside = None if others is None else torch.logsumexp(others, -1)
    return Asked(op.q, op.k, None, op.scale, lo, hi, op.softcap, added, aside)


def _rows(asked: Asked) -> Answered:
    return next(kernel for kernel in KERNELS if kernel.supports(asked.q)).rows(asked)


def _by_head(f: Tensor) -> Tensor:
    """Return functionals as [batch or 1, head or 1, key, n]."""
    return f[None, None] if f.ndim == 2 else f[:, None] if f.ndim == 3 else f


def _functionals(op: Operands, rows: Sequence[Row]) -> Tensor:
    """Return the functionals of several terms together, [batch or 1, head or 1, n, key]."""
    fs = [_by_head(row.f).float() for row in rows]
    fs = [f if f.shape[1] in (1, op.heads) else f.repeat_interleave(op.heads // f.shape[1], 1) for f in fs]
    batch, heads = (max(f.shape[dim] for f in fs) for dim in (0, 1))
    return torch.cat([f.expand(batch, heads, -1, -1) for f in fs], -1).transpose(-1, -2)


def _of_queries(op: Operands, term: Col) -> Tensor:
    """Return the weights of a column sum, [batch, head, query]."""
    g = torch.ones(1, 1, 1, device=op.q.device) if term.g is None else term.g if term.g.ndim == 3 else term.g[:, None]
    return g.float().expand(op.batch, op.heads, op.q_len)
