"""How much attention goes to a set of tokens."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

import torch
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


@dataclass(frozen=True)
class SegmentMass:
    """Mean weight that queries give to each segment of a partition of the keys, [layer, head, segment], in the order given.

    With `SinkShare` they add up to 1. Measuring raises ValueError where a token is in two of the segments, or in none: use
    several `Mass` for segments that overlap.
    """

    segments: tuple[str, ...]
    axes: ClassVar[tuple[str, ...]] = ("layer", "head", "segment")

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(self.segments))
        if not self.segments or len(set(self.segments)) < len(self.segments):
            raise ValueError(f"a partition needs segments with different names, not {self.segments}")

    @property
    def name(self) -> str:
        """Key of the result, `segment_mass[FIRST,SECOND,...]`."""
        return f"segment_mass[{','.join(self.segments)}]"

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for one row functional per segment."""
        chosen = torch.stack([call.keys(segment) for segment in self.segments], -1)
        covered = chosen.sum(-1)[call.keys("all")]
        twice, never = int((covered > 1).sum()), int((covered == 0).sum())
        if twice or never:
            raise ValueError(
                f"{', '.join(self.segments)} are no partition of the keys of {call.site}: {twice} of {len(covered)} "
                f"tokens are in more than one, {never} in none"
            )
        got = yield {"mass": Row(chosen.to(call.op.work_dtype))}
        return call.mean(got["mass"])
