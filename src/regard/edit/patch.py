"""Putting given weights and queries in the place of a model's own."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.call import Call
from ..core.effects import Effect, Replace, Rewrite, Stage
from ..core.protocols import Terms
from ..core.terms import Block
from .base import BaseEdit, check_pairs, of_queries, places


@dataclass(frozen=True, eq=False, repr=False)
class PatchWeights(BaseEdit):
    """Replace rows of the weights of some heads by given ones, as from `lens.weights` on another input or model.

    Shape of weights: [batch or 1, pair, query, key], pairs in the order of `heads`; queries and keys are those of the run from
    its first token on, padding included. Rows behind the last one keep theirs; keys behind the last one, and keys that a row does
    not see, get nothing. Of each row the share `share` is replaced, and the rest is the row as it was.
    """

    heads: Sequence[tuple[int, int]] = field()
    weights: Tensor
    share: float = 1.0
    stage: ClassVar[Stage] = "weights"

    def __post_init__(self) -> None:
        check_pairs(self.weights, self.heads, "batch or 1, pair, query, key")

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        yield {}
        found = of_queries(self.weights[:, places(self.heads, call), :, call.k_index :], call)
        if found is None:
            return None
        given, covered = found
        given = torch.nn.functional.pad(given, (0, max(0, call.op.k_len - given.shape[3])))

        def rows(weights: Tensor, block: Block) -> Tensor:
            heads = slice(None) if block.heads is None else block.heads
            assert block.seen is not None
            new = given[:, heads, slice(*block.rows), slice(*block.cols)].to(weights.dtype) * block.seen
            return new if self.share == 1 else weights + self.share * (new - weights)

        return Rewrite(rows).only(covered if self.share else torch.zeros_like(covered))


@dataclass(frozen=True, eq=False, repr=False)
class PatchQueries(BaseEdit):
    """Replace the queries of some heads by given ones, so that they ask of this run's keys what another run asked.

    Shape of given: [batch or 1, pair, token, dim], pairs in the order of `heads`, after the rotary embedding (as from
    `lens.cache`, "q.LAYER", of a run that counts positions alike: `generate` leaves padding out); tokens are those of the run
    from its first on, and rows behind the last one keep theirs.
    """

    heads: Sequence[tuple[int, int]] = field()
    given: Tensor
    stage: ClassVar[Stage] = "inputs"

    def __post_init__(self) -> None:
        check_pairs(self.given, self.heads, "batch or 1, pair, token, dim")

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        yield {}
        found = of_queries(self.given[:, places(self.heads, call)], call)
        return None if found is None else Replace(q=found[0]).only(found[1])
