"""What probes of heads share: weight on chosen pairs of tokens, and heads that rank among the first."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...core.call import Call
from ...core.reduce import Moments
from ...core.terms import Block, Rows, Term
from ...lens import Lens
from ..known import Fact, Measured

TOP = 0.1
"""Heads that a paper names must be among this share of all: papers name heads, and scores depend on the text."""


@dataclass(frozen=True, eq=False)
class PairMass:
    """Mean weight on chosen pairs of a query and keys, [layer, head], over the queries that have some.

    Shape of pairs: [batch, query, key] bool, for a batch without padding.
    """

    pairs: Tensor
    name: ClassVar[str] = "pair_mass"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the chosen weights of every row."""
        chosen = self.pairs.to(call.q.device)

        def inside(weights: Tensor, block: Block) -> Tensor:
            return (weights * chosen[:, None, slice(*block.rows), slice(*block.cols)]).sum(-1)

        got = yield {"mass": Rows(inside)}
        rows = chosen.any(-1)[:, None]
        return (got["mass"] * rows).sum(-1) / rows.sum(-1)


def scores(lens: Lens, x: dict[str, Any], pairs: Tensor) -> Tensor:
    """Return the mean weight of each head on pairs [batch, query, key]: [layer, head]."""
    return lens.measure(x, [PairMass(pairs)])["pair_mass"].mean


def ranked(found: Tensor, fact: Fact) -> Measured:
    """Say where the expected heads rank among all, by scores [layer, head]."""
    heads = int((~found.isnan()).sum())
    first = max(1, round(TOP * heads))
    told, right = [], True
    for layer, head in fact.expected:
        score = float(found[layer, head])
        rank = 1 + int((found > score).sum())
        right &= rank <= first
        told.append(f"{layer}.{head} is number {rank} with {score:.2f}")
    best = torch.where(found.isnan(), -torch.inf, found).flatten().topk(min(3, heads))
    width = found.shape[1]
    top = ", ".join(
        f"{at // width}.{at % width} {value:.2f}"
        for at, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )
    wanted = ", ".join(f"{layer}.{head}" for layer, head in fact.expected)
    return Measured(right, f"{wanted} among the first {first} of {heads}", f"{', '.join(told)}; first are {top}")
