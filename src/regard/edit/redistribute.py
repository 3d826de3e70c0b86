"""Moving attention from one set of tokens to another."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from ..core.call import Call
from ..core.effects import Effect, Mix, Stage
from ..core.protocols import Causality, Where
from ..core.terms import Part, Parts, Term


@dataclass(frozen=True)
class Redistribute:
    """Move a share of the attention on one segment to another, in proportion to what each of its tokens has.

    `move` is the share taken, 0 (nothing changes) to 1; tokens that are in both segments count as taken from. A query
    that gives the receiving segment no attention at all keeps its row. Rows keep their mass.
    """

    take_from: str
    give_to: str
    move: float = 0.6
    heads: Sequence[tuple[int, int]] | None = None
    phase: Literal["prefill", "decode", "both"] = "both"
    stage: ClassVar[Stage] = "weights"
    causality: ClassVar[Causality] = "row"

    def __post_init__(self) -> None:
        if not 0 <= self.move <= 1:
            raise ValueError(f"move is the share of the attention that is taken, between 0 and 1, not {self.move}")

    @property
    def where(self) -> Where:
        """The heads (all of them if None) and the phase."""
        return Where(heads=self.heads, phase=self.phase)

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[dict[str, Term], dict[str, Parts], Effect | None]:
        """Ask for the two segments' parts, and scale them."""
        take = call.keys(self.take_from)
        give = call.keys(self.give_to) & ~take
        labels = torch.where(take, 0, torch.where(give, 1, -1))
        part = Part(labels, 2)
        got = yield {"parts": part}
        taken, given = got["parts"].mass.unbind(-1)
        there = given > torch.finfo(given.dtype).eps ** 2  # below that the gain would overflow
        keep = torch.where(there, 1 - self.move, 1.0)
        gain = torch.where(there, 1 + self.move * taken / given.where(there, 1.0), 1.0)
        return Mix(part, torch.stack([keep, gain], -1))
