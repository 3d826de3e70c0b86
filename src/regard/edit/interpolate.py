"""Moving weights towards a simple pattern."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from ..core.call import Call
from ..core.effects import Blend, Effect, Stage
from ..core.protocols import Terms
from .base import BaseEdit


@dataclass(frozen=True, eq=False, repr=False)
class Interpolate(BaseEdit):
    """Move weights towards the identity (each query attends to itself) or the uniform row: `(1 - strength) A + strength T`.

    The identity is for self-attention only: raises ValueError for cross-attention.
    """

    target: Literal["identity", "uniform"]
    strength: float
    stage: ClassVar[Stage] = "weights"

    def __post_init__(self) -> None:
        if self.target not in ("identity", "uniform"):
            raise ValueError(f"target is identity or uniform, not {self.target!r}")

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        yield {}
        if self.target == "uniform":
            return Blend(self.strength, "uniform")
        if call.site.role == "cross":
            raise ValueError(f"the queries of {call.site} are not among its keys, so they cannot attend to themselves")
        at = torch.arange(call.op.q_len, device=call.q.device) + call.q_index - call.k_index
        at = torch.where((call.qpos >= 0) & (at < call.op.k_len), at, -1)
        return Blend(self.strength, "identity", at)
