"""How values of single examples become one result, batch after batch, without keeping the batches."""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor


class Reducer(Protocol):
    """A monoid over examples."""

    def add(self, values: Tensor) -> None:
        """Take in [batch, ...], one entry per example."""


@dataclass
class Moments:
    """Count, mean and standard deviation over examples, in float64; an example with NaN is left out where it is NaN."""

    count: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    total: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    squares: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def add(self, values: Tensor) -> None:
        values = values.detach().double().cpu()
        there = ~values.isnan()
        batch = there.sum(0).double()
        mean = torch.where(there, values, 0.0).sum(0) / batch.clamp_min(1)
        spread = torch.where(there, (values - mean) ** 2, 0.0).sum(0)
        count = self.count + batch
        shift = mean - self.total / self.count.clamp_min(1)
        self.squares = self.squares + spread + shift**2 * self.count * batch / count.clamp_min(1)
        self.total, self.count = self.total + mean * batch, count

    @property
    def mean(self) -> Tensor:
        """Mean over examples."""
        return self.total / self.count

    @property
    def std(self) -> Tensor:
        """Standard deviation over examples (n - 1); NaN for fewer than two."""
        return (self.squares / (self.count - 1).where(self.count > 1, torch.nan)).sqrt()


@dataclass
class Keep:
    """Every example's value apart, for what cannot be averaged because texts differ in length."""

    examples: list[Tensor] = field(default_factory=list)

    def add(self, values: Tensor) -> None:
        self.examples.extend(values.detach().float().cpu())
