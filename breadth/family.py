"""What a library's module tells of its families."""

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Family:
    """A family of models in a library; `name` is unique there."""

    library: str
    name: str


@dataclass
class Built:
    """A small random model in evaluation mode, and two examples for it without padding; None: the doctor makes some."""

    model: nn.Module
    x: dict[str, Any] | None
