"""The attention sink: as a rate (arXiv 2410.10781, section 3.1), as the weight behind the rate, and outside the keys."""

from collections.abc import Generator
from dataclasses import dataclass
from math import ceil
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..core.call import Call
from ..core.reduce import Moments
from ..core.terms import Term
from .rows import mass


@dataclass(frozen=True)
class SinkScore:
    """Weight that a position receives, averaged over the queries that can see it, [layer, head]: what `SinkRate` compares.

    `position` counts tokens from 0, without padding; "first" is the first one, and "max" the one that receives most in
    each text. A token that fewer than `2 / eps` queries see is left out, since a single query, as the first one, which
    sees only itself, would make a sink of any head. NaN where no token is left.
    """

    eps: float = 0.3
    position: int | Literal["first", "max"] = "first"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")
    _kind = "sink_score"

    def __post_init__(self) -> None:
        if not 0 < self.eps < 1:
            raise ValueError(f"eps is a share of a query's attention, between 0 and 1, not {self.eps}")
        if self.position not in ("first", "max") and not (isinstance(self.position, int) and self.position >= 0):
            raise ValueError(f"position is first, max, or counts tokens from 0, not {self.position!r}")

    @property
    def name(self) -> str:
        """Key of the result, with the position unless it is the first."""
        return self._kind if self.position == "first" else f"{self._kind}[{self.position}]"

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the column sums."""
        got = yield {"received": call.received}
        match self.position:
            case "first":
                chosen = call.keys("first")
            case "max":
                chosen = call.keys("all")
            case at:
                chosen = call.kpos == at
        chosen = chosen[:, None] & (call.visible >= ceil(2 / self.eps))
        share = got["received"] / call.visible.clamp_min(1)
        top = share.masked_fill(~chosen, 0.0).amax(-1)
        return top.masked_fill(~chosen.any(-1), torch.nan)


@dataclass(frozen=True)
class SinkRate(SinkScore):
    """Share of texts in which a position is a sink, [layer, head], between 0 and 1: in which its `SinkScore` is above `eps`.

    The threshold is taken in each text, before the mean over texts. The rate falls as texts grow or `eps` grows: give
    `eps`, `QueryCount` and the mean weight, `SinkScore`, beside it. Texts are left out as there.
    """

    _kind = "sink_rate"

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the column sums."""
        score = yield from super().plan(call)
        return (score > self.eps).to(score.dtype).masked_fill(score.isnan(), torch.nan)


@dataclass(frozen=True)
class SinkShare:
    """Mean weight that goes to no key, [layer, head], between 0 and 1: what sink logits and extra keys take.

    It is 0 in a model without them, unless an edit takes weight away.
    """

    name: ClassVar[str] = "sink_share"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the mass of the rows."""
        got = yield {"mass": mass(call)}
        return call.mean(1 - got["mass"][..., 0])
