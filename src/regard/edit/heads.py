"""Changes of what heads put out, before they meet in the output projection."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from ..core.call import Call
from ..core.effects import Effect, Out, Stage
from ..core.protocols import Causality, Where
from ..core.terms import Term


@dataclass(frozen=True)
class ScaleHeads:
    """Multiply the outputs of some heads, given as (layer, head) pairs, by a number; 1 changes nothing."""

    heads: Sequence[tuple[int, int]]
    scale: float
    phase: Literal["prefill", "decode", "both"] = "both"
    stage: ClassVar[Stage] = "outputs"
    causality: ClassVar[Causality] = "row"

    @property
    def where(self) -> Where:
        """The heads and the phase."""
        return Where(heads=self.heads, phase=self.phase)

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[dict[str, Term], Any, Effect | None]:
        """Ask nothing."""
        yield {}
        return Out(torch.full((1, 1, 1, 1), self.scale, device=call.q.device))


@dataclass(frozen=True)
class ZeroHeads(ScaleHeads):
    """Set the outputs of some heads, given as (layer, head) pairs, to zero."""

    scale: float = 0.0
