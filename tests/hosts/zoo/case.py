"""What a case of the zoo is, and inputs that many of them share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

Where = tuple[str, str]
"""A part of a model and a role: ("main", "self")."""


@dataclass(frozen=True)
class Case:
    """A model class at a small size: how to make it, what to feed it, and what attention it has.

    `sites` are the numbers of attention sites by part and role; `projections` are the paths of output projections seen
    from an attention module, of which each has some; `value_dim` is the width of a head before them, where they take more
    than heads; `tier` is how its attention is reached. Weights are multiplied by `scale`.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, Any]]
    sites: Mapping[Where, int] = field(default_factory=lambda: {("main", "self"): 2})
    projections: tuple[str, ...] = ("o_proj",)
    value_dim: int | None = None
    tier: str = "interface"
    scale: float = 4.0

    def build(self) -> nn.Module:
        """The model with weights of one seed, large enough that attention is not flat."""
        torch.manual_seed(0)
        model = self.make().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(self.scale)
        return model


def tokens(batch: int = 3, length: int = 11, left: bool = True) -> dict[str, torch.Tensor]:
    """Token ids of which the second and third example are padded."""
    ids = torch.randint(3, 60, (batch, length), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(batch, length, dtype=torch.long)
    for row in range(1, batch):
        span = slice(0, 2 * row) if left else slice(length - 2 * row, length)
        mask[row, span] = 0
    return {"input_ids": ids, "attention_mask": mask}


def noise(*shape: int, seed: int = 2) -> torch.Tensor:
    """Normal numbers, the same for the same shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
