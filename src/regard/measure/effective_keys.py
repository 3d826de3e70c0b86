"""How many keys attention is spread over: two counts that differ in how much the small weights say."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.call import Call
from ..core.reduce import Moments
from ..core.terms import Block, Rows, Score, Term
from .rows import average, mass


@dataclass(frozen=True)
class EffectiveKeys:
    """Mean effective number of keys, [layer, head]: the exponential of a row's entropy, n for n keys attended alike.

    Weights are taken relative to the row's mass, so that it is the keys that are counted where a sink logit takes some.
    """

    name: ClassVar[str] = "effective_keys"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the expected score and the mass."""
        got = yield {"score": Score(), "mass": mass(call)}
        total = got["mass"][..., 0]
        there = total > 0
        safe = torch.where(there, total, 1.0)
        return average((safe.log() - got["score"] / safe).exp(), call.live & there)


@dataclass(frozen=True)
class ParticipationRatio:
    """Mean participation ratio of a row, [layer, head]: `(sum_j A_ij)^2 / sum_j A_ij^2`, n for n keys attended alike.

    Never above the exponential of the entropy, since small weights count for less.
    """

    name: ClassVar[str] = "participation_ratio"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for exact rows: a square is not linear in the weights."""

        def ratio(weights: Tensor, block: Block) -> Tensor:
            # Relative to the largest weight, so that no square underflows.
            top = weights.amax(-1, keepdim=True)
            weights = weights / torch.where(top > 0, top, 1.0)
            squares = torch.linalg.vecdot(weights, weights)
            return weights.sum(-1) ** 2 / torch.where(squares > 0, squares, 1.0)

        got = yield {"ratio": Rows(ratio)}
        return average(got["ratio"], call.live & (got["ratio"] > 0))
