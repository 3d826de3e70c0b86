"""What each token receives."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..core.call import Call
from ..core.reduce import Keep
from ..core.terms import Term


@dataclass(frozen=True)
class Received:
    """Attention that each token receives, kept per text: [layer, head, key].

    The "mean" is over the queries that can see the token, and NaN where no query does; the "sum" over all queries favours
    early tokens under a causal mask. NaN for padding.
    """

    reduction: Literal["mean", "sum"] = "mean"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head", "key")

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise ValueError(f"reduction is mean or sum, not {self.reduction!r}")

    @property
    def name(self) -> str:
        """Key of the result."""
        return "received" if self.reduction == "mean" else "received_sum"

    def reducer(self) -> Keep:
        """Keep texts apart: they differ in length."""
        return Keep()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the column sums."""
        got = yield {"received": call.received}
        real = call.keys("all")[:, None]
        if self.reduction == "sum":
            return torch.where(real, got["received"], torch.nan)
        seen = call.visible * real
        return torch.where(seen > 0, got["received"] / seen.clamp_min(1), torch.nan)
