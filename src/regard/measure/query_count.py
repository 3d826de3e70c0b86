"""How much there was to average over."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.call import Call
from ..core.reduce import Moments
from ..core.terms import Term


@dataclass(frozen=True)
class QueryCount:
    """Number of queries that count in a text, [layer, head]: not padding, and seeing a key.

    Without a cache it is the length that goes beside whatever depends on it, as sink rates, entropies and distances do.
    """

    name: ClassVar[str] = "query_count"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for nothing: the mask tells."""
        yield {}
        return call.live.sum(-1).expand(call.op.batch, call.op.heads).to(call.op.work_dtype)
