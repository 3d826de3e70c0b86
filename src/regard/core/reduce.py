"""How values of single examples become one result, batch after batch, without keeping the batches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self

import torch
from torch import Tensor

Finished = Mapping[str, Tensor | list[Tensor]]
"""What was found at one site, by name: a tensor [head, ...], or a list with one [head, ...] per example."""


class Reducer(Protocol):
    """A monoid over examples: two halves merged are the whole."""

    def add(self, values: Tensor) -> None:
        """Take in [batch, ...], one entry per example."""

    def merge(self, other: Self) -> None:
        """Take in the examples of another reducer, which follow its own."""

    def finish(self) -> Finished:
        """Return what was found."""


@dataclass
class Moments:
    """Count, mean and standard deviation over examples, in float64; an example with NaN is left out where it is NaN."""

    count: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    total: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    squares: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))

    def add(self, values: Tensor) -> None:
        values = values.double().cpu()
        there = ~values.isnan()
        count = there.sum(0).double()
        total = torch.where(there, values, 0.0).sum(0)
        spread = torch.where(there, (values - total / count.clamp_min(1)) ** 2, 0.0).sum(0)
        self.merge(Moments(count, total, spread))

    def merge(self, other: "Moments") -> None:
        count = self.count + other.count
        shift = other.total / other.count.clamp_min(1) - self.total / self.count.clamp_min(1)
        between = shift**2 * self.count * other.count / count.clamp_min(1)
        self.squares = self.squares + other.squares + between
        self.total, self.count = self.total + other.total, count

    def finish(self) -> Finished:
        return {"mean": self.mean, "std": self.std, "count": self.count}

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
        self.examples.extend(values.float().cpu())

    def merge(self, other: "Keep") -> None:
        self.examples.extend(other.examples)

    def finish(self) -> Finished:
        return {"examples": self.examples}
