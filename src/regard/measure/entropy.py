"""How spread out attention is."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.call import Call
from ..core.reduce import Moments
from ..core.terms import Score, Term
from .rows import average, reach, root


@dataclass(frozen=True)
class Entropy:
    """Mean entropy of a query's weights in nats, [layer, head]: `-sum_j A_ij log A_ij`.

    With `normalised` each query's entropy is divided by the logarithm of the number of keys that the query can see, which
    is the entropy of attention spread evenly: 0 is one key, 1 is all alike. Queries that see one key only are left out.
    """

    normalised: bool = False
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    @property
    def name(self) -> str:
        """Key of the result."""
        return "normalised_entropy" if self.normalised else "entropy"

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the expected score, which is minus the entropy."""
        got = yield {"score": Score()}
        if not self.normalised:
            return call.mean(-got["score"])
        keys = reach(call).to(got["score"].dtype)
        return average(-got["score"] / keys.clamp_min(2).log(), call.live & (keys > 1))


@dataclass(frozen=True)
class EntropySpread:
    """Standard deviation of the heads' entropies in nats, [layer]: how differently the heads of a layer spread their attention.

    It is that of the heads at hand (n, not n - 1), taken in each text, before the mean over texts.
    """

    name: ClassVar[str] = "entropy_spread"
    axes: ClassVar[tuple[str, ...]] = ("layer",)

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the expected score."""
        got = yield {"score": Score()}
        return root(call.mean(-got["score"]).var(-1, correction=0))
