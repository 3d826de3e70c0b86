"""The spot check that every measurement carries: a few rows and columns again, densely and in float64."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from . import dense
from .effects import Rewrite, SetScores
from .operands import Operands
from .patchwork import Patchwork, Piece, cut_term
from .scores import scores
from .terms import Answer, Col, Far, Lse, Part, Row, Score, Term, Top, Without

ROWS = 2
"""Query rows that are computed again in each call."""
COLUMNS = 2
"""Key columns that are, where the log-sum-exp was asked for too."""


@torch.no_grad()
def deviation(patchwork: Patchwork, live: Tensor, terms: Sequence[Term], answers: Sequence[Answer]) -> float:
    """Return the worst deviation, `|a - b| / max(1, |b|)`, of answers from a dense float64 computation.

    Rows are compared at a few random queries, edited ones against the edited weights; the queries that count are `live`
    [batch, head or 1, query]. Where nothing is edited, column sums are compared at a few random keys (from the answered
    log-sum-exp, itself compared in rows) and by the invariant that they add up to the mass of the rows. The choice depends on the
    call's shape only, so that a measurement repeats exactly.
    """
    op = patchwork.op
    generator = torch.Generator().manual_seed(op.q_len * 1009 + op.k_len)
    picked = torch.randint(op.q_len, (ROWS,), generator=generator).tolist()
    keys = torch.randint(op.k_len, (COLUMNS,), generator=generator).tolist()
    live = live.expand(op.batch, op.heads, -1)
    worst = 0.0
    for query in dict.fromkeys(picked):
        for piece in patchwork.pieces:
            if piece.queries[0] <= query < piece.queries[1] and piece.attention.made is None:
                worst = max(worst, _row(patchwork, piece, query, live[:, piece.heads, query], terms, answers))
    if not patchwork.changed:
        worst = max(worst, _columns(op, keys, live, terms, answers))
    return worst


def _row(
    patchwork: Patchwork, piece: Piece, query: int, live: Tensor, terms: Sequence[Term], answers: Sequence[Answer]
) -> float:
    """Compare the answers about one query of one piece."""
    attention, row = piece.attention, slice(query - piece.queries[0], query - piece.queries[0] + 1)
    one = attention.op.select(None, row)
    effects = [edit.select(None, row, one.heads) for edit in attention.edits]
    # What a function of an edit does to another dtype is its own business, so it is asked in the call's.
    own = any(isinstance(effect, Rewrite | SetScores) for effect in (*effects, *one.laws))
    truth = dense.maps(one if own else _double(one), effects)
    worst = 0.0
    for term, answer in zip(terms, answers, strict=True):
        if not isinstance(term, Lse | Score | Top | Row | Far | Part | Without):
            continue
        expected = dense.answer(truth, cut_term(term, replace(piece, queries=(query, query + 1)), patchwork.op.heads))
        for got, right in zip(_tensors(answer), _tensors(expected), strict=True):
            worst = max(worst, _worst(got[:, piece.heads, query][live], right[:, :, 0][live]))
    return worst


def _columns(
    op: Operands, keys: Sequence[int], live: Tensor, terms: Sequence[Term], answers: Sequence[Answer]
) -> float:
    """Compare column sums."""
    op, worst = _double(op), 0.0
    lse = next(
        (a for a, term in zip(answers, terms, strict=True) if isinstance(term, Lse) and isinstance(a, Tensor)), None
    )
    for term, answer in zip(terms, answers, strict=True):
        if not isinstance(term, Col) or not isinstance(answer, Tensor):
            continue
        if lse is not None:
            worst = max(worst, *(_worst(answer[..., key], _column(op, term, key, lse)) for key in keys))
        if op.sink is None and not op.extra and term.g is not None:
            given = (term.g if term.g.ndim == 3 else term.g[:, None]) * live
            worst = max(worst, _worst(answer.double().sum(-1), given.double().sum(-1).expand(op.batch, op.heads)))
    return worst


def _tensors(answer: Answer) -> Sequence[Tensor]:
    return [answer] if isinstance(answer, Tensor) else list(answer)


def _column(op: Operands, term: Col, key: int, lse: Tensor) -> Tensor:
    """Return `sum_i g_i A_ij` of one key, [batch, head]."""
    s = scores(op, op.k[:, :, key : key + 1], (0, op.q_len), (key, key + 1))[..., 0]
    a = torch.exp(s - lse.double().masked_fill(lse.isneginf(), 0.0))
    return a.sum(-1) if term.g is None else ((term.g if term.g.ndim == 3 else term.g[:, None]) * a).sum(-1)


def _double(op: Operands) -> Operands:
    def up(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.detach().double()

    return replace(
        op,
        q=op.q.detach().double(),
        k=op.k.detach().double(),
        v=op.v.detach().double(),
        sink=up(op.sink),
        bias=up(op.bias),
        extra=tuple(e._replace(k=e.k.detach().double(), v=e.v.detach().double()) for e in op.extra),
    )


def _worst(answer: Tensor, expected: Tensor) -> float:
    if not expected.numel():
        return 0.0
    return float(((answer.double() - expected).abs() / expected.abs().clamp_min(1)).max())
