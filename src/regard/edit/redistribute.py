"""Moving attention from one set of tokens to another."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.call import Call
from ..core.effects import Effect, Mix, Stage
from ..core.protocols import Terms
from ..core.terms import Block, Part
from .base import BaseEdit


@dataclass(frozen=True, eq=False, repr=False)
class Redistribute(BaseEdit):
    """Move a share of the attention on one segment to another, in proportion to what each of its tokens has.

    `move` is the share taken, 0 (nothing changes) to 1; tokens that are in both segments count as taken from. A query
    that gives the receiving segment no attention at all keeps its row. Rows keep their mass.
    """

    take_from: str
    give_to: str
    move: float = 0.6
    stage: ClassVar[Stage] = "weights"

    def __post_init__(self) -> None:
        if not 0 <= self.move <= 1:
            raise ValueError(f"move is the share of the attention that is taken, between 0 and 1, not {self.move}")

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        take = call.keys(self.take_from)
        give = call.keys(self.give_to) & ~take
        if not bool(take.any() and give.any()):
            yield {}
            return None
        labels = torch.where(take, 0, torch.where(give, 1, -1))
        yield {}
        return Mix(Part(labels, 2), self._factors)

    def _factors(self, mass: Tensor, block: Block) -> Tensor:
        taken, given = mass.unbind(-1)
        there = given > torch.finfo(given.dtype).eps ** 2  # below that the gain would overflow
        keep = 1 - self.move * there.to(given.dtype)
        gain = torch.where(there, 1 + self.move * taken / given.where(there, 1.0), 1.0)
        return torch.stack([keep, gain], -1)
