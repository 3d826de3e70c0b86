"""The attention sink as a rate (arXiv 2410.10781, section 3.1)."""

from collections.abc import Generator
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import torch
from torch import Tensor

from ..core.call import Call
from ..core.reduce import Moments
from ..core.terms import Term


@dataclass(frozen=True)
class SinkRate:
    """Share of texts in which a head's first token is a sink, [layer, head], between 0 and 1.

    It is one where the weight that the first token receives, averaged over the queries that can see it, is above `eps`.
    The threshold is taken in each text, before the mean over texts. The rate falls as texts grow or `eps` grows: give
    both beside it. A text of fewer than `2 / eps` tokens is left out, since its first query alone, which sees only
    itself, would make a sink of any head.
    """

    eps: float = 0.3
    name: ClassVar[str] = "sink_rate"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    def __post_init__(self) -> None:
        if not 0 < self.eps < 1:
            raise ValueError(f"eps is a share of a query's attention, between 0 and 1, not {self.eps}")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the column sums."""
        got = yield {"received": call.received}
        share = got["received"] / call.visible.clamp_min(1)
        first = call.keys("first")[:, None]
        received = torch.where(first, share, 0.0).sum(-1)
        long_enough = (call.live.sum(-1) >= ceil(2 / self.eps)) & first.any(-1)
        return (received > self.eps).to(received.dtype).masked_fill(~long_enough, torch.nan)
