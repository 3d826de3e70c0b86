"""The spot check that every measurement carries: a few rows again, densely and in float64."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from . import dense
from .call import Call
from .operands import Operands
from .terms import Answer, Col, Lse, Row, Score, Term

ROWS = 2
"""Query rows that are computed again in each call."""


def deviation(call: Call, terms: Sequence[Term], answers: Sequence[Answer]) -> float:
    """Return the worst deviation, `|a - b| / max(1, |b|)`, of answers from a dense float64 computation.

    Rows are compared at a few random queries; column sums by the invariant that they add up to the mass of the rows.
    The choice depends on the call's shape only, so that a measurement repeats exactly.
    """
    op = _double(call.op)
    generator = torch.Generator().manual_seed(op.q_len * 1009 + op.k_len)
    picked = torch.randint(op.q_len, (ROWS,), generator=generator).tolist()
    worst = 0.0
    for query in dict.fromkeys(picked):
        truth = dense.maps(op.select(None, slice(query, query + 1)))
        live = call.live[:, :, query].expand(op.batch, op.heads)
        for term, answer in zip(terms, answers, strict=True):
            if isinstance(term, Lse | Score | Row) and isinstance(answer, Tensor):
                expected = dense.answer(truth, term)
                assert isinstance(expected, Tensor)
                worst = max(worst, _worst(answer[:, :, query][live], expected[:, :, 0][live]))
    if op.sink is None:
        for term, answer in zip(terms, answers, strict=True):
            if isinstance(term, Col) and term.g is not None and isinstance(answer, Tensor):
                given = (term.g if term.g.ndim == 3 else term.g[:, None]) * call.live
                worst = max(worst, _worst(answer.double().sum(-1), given.double().sum(-1).expand(op.batch, op.heads)))
    return worst


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
    )


def _worst(answer: Tensor, expected: Tensor) -> float:
    if not expected.numel():
        return 0.0
    return float(((answer.double() - expected).abs() / expected.abs().clamp_min(1)).max())
