"""How much the favourite key gets."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.call import Call
from ..core.reduce import Moments
from ..core.terms import Term, Top


@dataclass(frozen=True)
class MaxWeight:
    """Mean of a query's largest weight, [layer, head], between 0 and 1."""

    name: ClassVar[str] = "max_weight"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for it."""
        got = yield {"top": Top()}
        return call.mean(got["top"])
