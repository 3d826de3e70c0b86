"""Softmax with a 1 less on both sides of its fraction, whose rows have exact zeros and sum to what they like."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.call import Call
from ..core.effects import Effect, Rewrite
from ..core.effects.effect import cut_heads
from ..core.protocols import Edit, Terms
from ..core.terms import Block, Lse
from .attention import AttentionDesign, Given, Learnt, Planned


@dataclass(frozen=True)
class Softpick(AttentionDesign):
    """Weights `relu(exp(S_ij) - 1) / sum_j |exp(S_ij) - 1|`, over the keys that a query sees; 0 where all scores are 0.

    A score of 0 or less gives a weight of 0, and still takes from the others. Source: arXiv 2504.20966, section 3, whose small
    number in the denominator is left out.
    """

    def attend(self, given: Given, learnt: Learnt) -> Tensor:
        scores = given.scores()
        seen = ~scores.isneginf()
        scores = scores.where(seen, 0.0)  # adds |1 - 1|, and gives no infinite gradient
        top = scores.amax(-1, keepdim=True).clamp_min(0).detach()
        return given.sum(_picked((scores - top).exp() - (-top).exp(), seen))

    def edits(self, learnt: Learnt) -> tuple[Edit, ...]:
        def planned(call: Call) -> Generator[Terms, dict[str, Any], Effect | None]:
            got = yield {"lse": Lse()}

            def rows(weights: Tensor, block: Block) -> Tensor:
                assert block.seen is not None
                lse = cut_heads(got["lse"], block.heads)[:, :, slice(*block.rows), None]
                return _picked(weights - (-lse).exp(), block.seen)

            return Rewrite(rows)

        return (Planned("weights", planned),)


def _picked(less: Tensor, seen: Tensor) -> Tensor:
    """Return weights [batch, head, query, key] from a multiple of `exp(S) - 1` of each row."""
    less = less.masked_fill(~seen, 0.0)
    return less.relu() / less.abs().sum(-1, keepdim=True).clamp_min(torch.finfo(less.dtype).tiny)
