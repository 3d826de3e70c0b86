"""What a torch call says when it is read as an attention."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..core.operands import Operands


@dataclass(frozen=True, eq=False)
class Reading:
    """One torch call read as an attention: its operands, and how its result is made from an output and an output from it."""

    op: Operands
    tier: str
    gives: frozenset[str]
    output: Callable[[Any], Tensor]
    result: Callable[[Tensor], Any]


Reader = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Reading | None]
"""Reads a call made inside a module; None if it is no attention."""
