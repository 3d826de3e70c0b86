"""What is compared: ways to compute the same thing, each with its own check."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 2e-2}
"""Deviation that rounding may cause, as in `regard scan`; a wrong kernel is off by far more."""


@dataclass(frozen=True, eq=False)
class Arm:
    """One way to compute a quantity: `run` does it, `check` returns how far what it returned is from the oracle.

    `check` is None for what is a library's own and only compared with.
    """

    quantity: str
    path: str
    run: Callable[[], Any]
    check: Callable[[Any], float] | None

    def __str__(self) -> str:
        return f"{self.quantity} ({self.path})"


def deviation(values: Tensor, expected: Tensor) -> float:
    """Return the worst `|a - b| / max(1, |b|)`; infinite where only one of the two is NaN or infinite."""
    values, expected = values.detach().double().cpu(), expected.double().cpu()
    same = (values == expected) | (values.isnan() & expected.isnan())
    off = (values - expected).abs() / expected.abs().clamp_min(1)
    return float(torch.where(same, 0.0, off.nan_to_num(nan=torch.inf, posinf=torch.inf)).max())


def gate(arm: Arm, dtype: torch.dtype) -> float | None:
    """Run an arm once and return its deviation from the oracle; None where it has no check.

    Raises ValueError if that is more than rounding.
    """
    if arm.check is None:
        return None
    off = arm.check(arm.run())
    if not off <= TOLERANCES[dtype]:
        raise ValueError(f"nothing was timed: {arm} is {off:.1e} off the dense oracle, above {TOLERANCES[dtype]:.0e}")
    return off
