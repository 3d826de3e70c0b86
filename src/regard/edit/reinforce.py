"""Reinforcing other heads in each example."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.call import Call
from ..core.effects import Effect, Out, Stage
from ..core.protocols import Terms
from .base import BaseEdit, check_pairs, places


@dataclass(frozen=True, eq=False, repr=False)
class ReinforceHeads(BaseEdit):
    """Multiply, in each example, the outputs of the heads that are chosen for it by `alpha`; 1 changes nothing.

    Shape of chosen: [example or 1, pair] bool, in the order of the (layer, head) pairs; an example's beams have its heads. The
    same as multiplying these heads' columns of the output projection. With `since=("prompt_end", -1)` the prompt keeps its
    keys and values. Raises ValueError for another number of pairs, and at a call of another batch.

    Source: vision-aware head reinforcement, arXiv 2412.13949, whose heads `regard.lens.vision_heads` chooses.
    """

    heads: Sequence[tuple[int, int]] = field()
    chosen: Tensor
    alpha: float = 2.0
    stage: ClassVar[Stage] = "outputs"

    def __post_init__(self) -> None:
        check_pairs(self.chosen, self.heads, "example or 1, pair")

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        yield {}
        chosen = call.of_examples(self.chosen[:, places(self.heads, call)]).to(call.q.device)
        scale = torch.where(chosen, self.alpha, 1.0)
        return Out(scale[:, :, None, None])
