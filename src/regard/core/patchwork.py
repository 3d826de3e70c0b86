"""One call as a patchwork: rectangles of heads and queries, each an `Attention` of its own.

An edit of some heads or some queries splits off a rectangle; the others stay on their path and bit-equal.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .attention import Attention
from .blockwise import blocks
from .effects import Effect
from .effects.effect import cut, cut_kv_heads
from .mask import Span
from .operands import Operands
from .terms import Answer, Attend, Block, Col, Far, OfBlock, Row, Rows, Term, Without, shifted


@dataclass(frozen=True, eq=False)
class Piece:
    """A rectangle: some heads (ascending indices [n]) times a range of queries."""

    heads: Tensor
    queries: Span
    attention: Attention


@dataclass(frozen=True, eq=False)
class Patchwork:
    """The attention of one call, as its effects so far have left it."""

    op: Operands
    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, op: Operands, host: Callable[[], Tensor]) -> "Patchwork":
        """Return the unedited attention of a call; `host` gives its output [batch, head, query, value_dim]."""
        heads = torch.arange(op.heads, device=op.q.device)
        return cls(op, (Piece(heads, (0, op.q_len), Attention(op, host)),))

    @property
    def changed(self) -> bool:
        """True if an effect has touched the output."""
        return any(piece.attention.changed for piece in self.pieces)

    def answer(self, terms: Sequence[Term]) -> list[Answer]:
        """Answer terms about the whole call, [batch, head, query, ...]."""
        if len(self.pieces) == 1:
            return self.pieces[0].attention.answer(terms)
        of = self.op.heads
        apart = [term for term in terms if not (isinstance(term, Rows) and term.all_heads)]
        answers = [piece.attention.answer([cut_term(term, piece, of) for term in apart]) for piece in self.pieces]
        joined = iter([self._join(term, [a[i] for a in answers]) for i, term in enumerate(apart)])
        return [
            self._side_by_side(term.fn) if isinstance(term, Rows) and term.all_heads else next(joined) for term in terms
        ]

    def select(self, heads: Tensor | None, queries: Span) -> "Patchwork":
        """Return the attention of some heads and a range of queries, its own indices counting from 0."""
        if heads is None and queries == (0, self.op.q_len):
            return self
        chosen = torch.arange(self.op.heads, device=self.op.q.device) if heads is None else heads
        pieces = []
        for piece in self.pieces:
            inside = torch.isin(chosen, piece.heads)
            lo, hi = max(queries[0], piece.queries[0]), min(queries[1], piece.queries[1])
            if inside.any() and lo < hi:
                attention = _crop(piece, chosen[inside], (lo, hi))
                where = inside.nonzero()[:, 0]
                pieces.append(Piece(where, (lo - queries[0], hi - queries[0]), attention))
        return Patchwork(self.op.select(heads, slice(*queries)), tuple(pieces))

    def apply(self, effect: Effect, heads: Tensor | None, queries: Span) -> "Patchwork":
        """Return the patchwork after an effect on some heads and a range of queries; the effect has the selection's shape."""
        chosen = torch.arange(self.op.heads, device=self.op.q.device) if heads is None else heads
        pieces: list[Piece] = []
        for piece in self.pieces:
            inside = torch.isin(piece.heads, chosen)
            lo, hi = max(queries[0], piece.queries[0]), min(queries[1], piece.queries[1])
            if not inside.any() or lo >= hi:
                pieces.append(piece)
                continue
            untouched = [(piece.heads[~inside], piece.queries)] if not inside.all() else []
            hit = piece.heads[inside]
            untouched += [(hit, span) for span in ((piece.queries[0], lo), (hi, piece.queries[1])) if span[0] < span[1]]
            pieces += [Piece(rest, span, _crop(piece, rest, span)) for rest, span in untouched]
            local = effect.select(torch.searchsorted(chosen, hit), slice(lo - queries[0], hi - queries[0]), len(chosen))
            pieces.append(Piece(hit, (lo, hi), _crop(piece, hit, (lo, hi)).apply(local)))
        return Patchwork(self.op, tuple(pieces))

    def output(self, host: Callable[[], Tensor]) -> Tensor:
        """Return the output [batch, head, query, value_dim]: the host's own wherever nothing was changed, bit by bit."""
        if len(self.pieces) == 1:
            return self.pieces[0].attention.output()
        out = host().clone()
        for piece in self.pieces:
            if piece.attention.changed:
                out[:, piece.heads, slice(*piece.queries)] = piece.attention.output().to(out.dtype)
        return out

    def _side_by_side(self, fn: OfBlock) -> Tensor:
        """Answer a function of the rows of all heads, block by block as one attention would."""
        keys = self.op.k_len

        def whole(weights: Tensor, block: Block) -> Tensor:
            assert block.seen is not None
            both = torch.stack([weights, block.seen.to(weights.dtype)], -1)
            return torch.nn.functional.pad(both, (0, 0, block.cols[0], keys - block.cols[1]))

        parts = []
        for rows, _ in blocks(self.op):
            (both,) = self.select(None, rows).answer([Rows(whole)])
            assert isinstance(both, Tensor)
            parts.append(fn(both[..., 0], Block(None, rows, (0, keys), both[..., 1].bool())))
        return torch.cat(parts, 2)

    def _join(self, term: Term, answers: Sequence[Answer]) -> Answer:
        if not isinstance(answers[0], Tensor):
            return type(answers[0])(*(self._scatter(tensors) for tensors in zip(*answers, strict=True)))
        tensors = [a for a in answers if isinstance(a, Tensor)]
        if isinstance(term, Col):
            total = tensors[0].new_zeros(self.op.batch, self.op.heads, self.op.k_len)
            for piece, part in zip(self.pieces, tensors, strict=True):
                total[:, piece.heads] += part
            return total
        return self._scatter(tensors)

    def _scatter(self, tensors: Sequence[Tensor]) -> Tensor:
        whole = tensors[0].new_zeros(self.op.batch, self.op.heads, self.op.q_len, *tensors[0].shape[3:])
        for piece, part in zip(self.pieces, tensors, strict=True):
            whole[:, piece.heads, slice(*piece.queries)] = part
        return whole


def _crop(piece: Piece, heads: Tensor, queries: Span) -> Attention:
    """Return the attention of a rectangle inside a piece; heads and queries in the call's indices."""
    start = piece.queries[0]
    return piece.attention.crop(torch.searchsorted(piece.heads, heads), (queries[0] - start, queries[1] - start))


def cut_term(term: Term, piece: Piece, of: int) -> Term:
    """Restrict a term about `of` heads to a piece."""
    match term:
        case Row(f) if f.ndim == 4:
            return Row(cut_kv_heads(f, piece.heads, of))
        case Attend(k, v, mask, bias):
            span = slice(*piece.queries)
            return Attend(
                cut_kv_heads(k, piece.heads, of),
                cut_kv_heads(v, piece.heads, of),
                None if mask is None else mask.select(piece.heads, span),
                None if bias is None else cut(bias, piece.heads, span),
            )
        case Col(g) if g is not None:
            g = g[..., slice(*piece.queries)]
            return Col(g[:, piece.heads] if g.ndim == 3 and g.shape[1] > 1 else g)
        case Far(x, y):
            return Far(x[:, slice(*piece.queries)], y)
        case Without(hidden, about):
            inner = cut_term(about, piece, of)
            assert isinstance(inner, type(about))
            return Without(hidden, inner)
        case Rows(fn):
            return Rows(shifted(fn, piece.heads, piece.queries[0]))
    return term
