"""What maps look like as a whole: the indicators of arXiv 2510.11602, section 5."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.call import Call
from ..core.reduce import Moments
from ..core.terms import Block, Rows, Term

Plan = Generator[dict[str, Term], dict[str, Tensor], Tensor]


@dataclass(frozen=True)
class EntropyTotal:
    """Entropy of a whole map, `- sum_ij A_ij log A_ij` in nats, [layer, head]: a sum over queries, where `Entropy` is a mean."""

    name: ClassVar[str] = "entropy_total"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Plan:
        """Ask for the entropies of rows."""
        got = yield {"rows": Rows(lambda weights, block: torch.special.entr(weights).sum(-1))}
        return torch.where(call.live, got["rows"], 0.0).sum(-1)


@dataclass(frozen=True)
class Concentration:
    """Frobenius norm of a map, `sqrt(sum_ij A_ij^2)`, [layer, head]."""

    name: ClassVar[str] = "concentration"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Plan:
        """Ask for the squares of rows."""
        got = yield {"rows": Rows(lambda weights, block: weights.square().sum(-1))}
        return torch.where(call.live, got["rows"], 0.0).sum(-1).sqrt()


@dataclass(frozen=True)
class HeadDiversity:
    """Standard deviation of a weight over the heads of a layer, mean over the entries that queries see, [layer].

    It is that of the heads at hand (n, not n - 1), which the paper does not tell.
    """

    name: ClassVar[str] = "head_diversity"
    axes: ClassVar[tuple[str, ...]] = ("layer",)

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Plan:
        """Ask for rows of all heads side by side."""

        def spread(weights: Tensor, block: Block) -> Tensor:
            assert block.seen is not None
            seen = block.seen.any(1, keepdim=True)
            spreads = weights.std(1, correction=0, keepdim=True) * seen
            return torch.stack([spreads.sum(-1), seen.expand_as(spreads).sum(-1).to(spreads.dtype)], -1)

        got = yield {"rows": Rows(spread, all_heads=True)}
        total = torch.where(call.live.any(1)[:, None, :, None], got["rows"], 0.0).sum((1, 2))
        return total[:, 0] / total[:, 1]


@dataclass(frozen=True)
class LookBack:
    """Mean weight of the token `steps` back, over the queries that have one, [layer, head]: 0 is the query's own token.

    NaN where no query has one. Positions are counted without padding.
    """

    steps: int = 1
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    @property
    def name(self) -> str:
        """Key of the result."""
        return f"look_back[{self.steps}]"

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Plan:
        """Ask for the weight of one key of each row."""

        def there(weights: Tensor, block: Block) -> Tensor:
            rows, cols = call.qpos[:, slice(*block.rows)], call.kpos[:, slice(*block.cols)]
            back = (rows[:, :, None] - self.steps == cols[:, None]) & (cols >= 0)[:, None]
            return (weights * back[:, None]).sum(-1)

        got = yield {"rows": Rows(there)}
        counted = (call.live & (call.qpos >= self.steps)[:, None]).expand_as(got["rows"])
        return torch.where(counted, got["rows"], 0.0).sum(-1) / counted.sum(-1)
