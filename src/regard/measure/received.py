"""What each token receives."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.call import Call
from ..core.reduce import Keep
from ..core.terms import Term


@dataclass(frozen=True)
class Received:
    """Attention that each token receives, averaged over the queries that can see it, kept per text: [layer, head, key].

    NaN for padding and for a token that no query sees.
    """

    name: ClassVar[str] = "received"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head", "key")

    def reducer(self) -> Keep:
        """Keep texts apart: they differ in length."""
        return Keep()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the column sums."""
        got = yield {"received": call.received}
        seen = call.visible * call.keys("all")[:, None]
        return torch.where(seen > 0, got["received"] / seen, torch.nan)
