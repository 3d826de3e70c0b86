"""How much attention goes to a set of tokens."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.call import Call
from ..core.reduce import Moments
from ..core.terms import Row, Term


@dataclass(frozen=True)
class Mass:
    """Mean weight that queries give to a segment of the keys, [layer, head], between 0 and 1."""

    segment: str
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    @property
    def name(self) -> str:
        """Key of the result, `mass[SEGMENT]`."""
        return f"mass[{self.segment}]"

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the row functional that is 1 on the segment."""
        chosen = call.keys(self.segment).to(call.op.work_dtype)
        got = yield {"mass": Row(chosen[..., None])}
        return call.mean(got["mass"][..., 0])


@dataclass(frozen=True)
class SinkMass(Mass):
    """Mean weight that queries give to the first token, [layer, head]: the mass of the usual attention sink."""

    segment: str = "first"

    @property
    def name(self) -> str:
        """Key of the result."""
        return "sink_mass"
