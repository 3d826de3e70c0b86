"""How spread out attention is."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.call import Call
from ..core.reduce import Moments
from ..core.terms import Score, Term


@dataclass(frozen=True)
class Entropy:
    """Mean entropy of a query's weights in nats, [layer, head]: `-sum_j A_ij log A_ij`."""

    name: ClassVar[str] = "entropy"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the expected score, which is minus the entropy."""
        got = yield {"score": Score()}
        return call.mean(-got["score"])
