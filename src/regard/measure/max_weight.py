"""How much the favourite key gets."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.call import Call
from ..core.reduce import Moments
from ..core.terms import Rows, Term


@dataclass(frozen=True)
class MaxWeight:
    """Mean of a query's largest weight, [layer, head], between 0 and 1."""

    name: ClassVar[str] = "max_weight"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for exact rows."""
        got = yield {"max": Rows(lambda weights, block: weights.amax(-1))}
        return call.mean(got["max"])
