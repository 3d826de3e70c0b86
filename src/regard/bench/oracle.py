"""The dense oracle at lengths whose maps do not fit: in float64, a head and some rows at a time."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..core import dense
from ..core.attention import Attention
from ..core.effects import Mix
from ..core.operands import Operands
from ..core.patchwork import Piece, cut_term
from ..core.terms import Col, Term

ELEMENTS = 1 << 24
"""Weights held at once."""


@dataclass(frozen=True, eq=False)
class Oracle:
    """One attention, plain and as a mix leaves it."""

    op: Operands
    mix: Mix

    def truth(self, asked: Mapping[str, Term], plans: Mapping[str, Generator[Any, Any, Tensor]]) -> dict[str, Tensor]:
        """Return the output, the mixed output, the answers to terms, and what statistics of one round make of theirs."""
        rounds = {name: next(plan) for name, plan in plans.items()}
        terms = [*asked.values(), *(term for one in rounds.values() for term in one.values())]
        found = self._answers(list(dict.fromkeys(terms)))
        truth = {name: found[term] for name, term in asked.items()}
        for name, plan in plans.items():
            try:
                plan.send({key: found[term] for key, term in rounds[name].items()})
            except StopIteration as stop:
                truth[name] = stop.value
        return truth | {"output": found["output"], "mixed": found["mixed"]}

    def _answers(self, terms: list[Term]) -> dict[Term | str, Tensor]:
        by_head = [self._of_head(head, terms) for head in range(self.op.heads)]
        return {key: torch.cat([one[key] for one in by_head], 1) for key in by_head[0]}

    def _of_head(self, head: int, terms: list[Term]) -> dict[Term | str, Tensor]:
        op, index = self.op, torch.tensor([head], device=self.op.q.device)
        parts: list[dict[Term | str, Tensor]] = []
        step = max(1, ELEMENTS // (op.batch * op.k_len))
        for start in range(0, op.q_len, step):
            rows = (start, min(start + step, op.q_len))
            one = op.select(index, slice(*rows))
            one = replace(one, q=one.q.double(), k=one.k.double(), v=one.v.double())
            maps, piece = dense.maps(one), Piece(index, rows, Attention(one, lambda: op.v))
            mixed = dense.maps(one, [self.mix.select(index, slice(*rows), op.heads)]).out
            found: dict[Term | str, Tensor] = {"output": maps.out, "mixed": mixed}
            for term in terms:
                answer = dense.answer(maps, cut_term(term, piece, op.heads))
                assert isinstance(answer, Tensor)
                found[term] = answer
            parts.append(found)
        return {
            key: torch.stack([part[key] for part in parts]).sum(0)
            if isinstance(key, Col)
            else torch.cat([part[key] for part in parts], 2)
            for key in parts[0]
        }
