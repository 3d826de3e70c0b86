"""Random draws that all worlds share, each from a seed."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .batch import Batch

Ints = NDArray[np.int64]


def generator(seed: int, step: int = 0) -> np.random.Generator:
    """Return the generator of one step of a run: streams of different steps or seeds are independent."""
    # A spawn key, since seeds [3] and [3, 0] would be the same.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(step,)))


def shuffles(rng: np.random.Generator, count: int, low: int, high: int) -> Ints:
    """Return shuffled rows of the numbers from `low` up to and without `high`, [count, high - low]."""
    return rng.permuted(np.tile(np.arange(low, high), (count, 1)), axis=1)


def places(rng: np.random.Generator, count: int, chosen: int, low: int, high: int) -> Ints:
    """Return ascending places, [count, chosen], drawn without repetition from `low` up to and without `high`."""
    return np.sort(shuffles(rng, count, low, high)[:, :chosen], axis=1)


def by_probability(rng: np.random.Generator, rows: NDArray[np.float64]) -> Ints:
    """Return one outcome for each row of probabilities [..., outcome]."""
    bounds = rows.cumsum(-1)
    bounds[..., -1] = 1.0  # sums that round to less leave no outcome
    return (bounds > rng.random((*rows.shape[:-1], 1))).argmax(-1)


def to_batch(ids: Any, scored: Any, roles: Mapping[str, Any], truth: Mapping[str, Any], valid: Any = None) -> Batch:
    """Return a batch of what numpy made."""
    tokens = torch.from_numpy(np.ascontiguousarray(ids)).long()
    return Batch(
        tokens,
        torch.from_numpy(np.ascontiguousarray(scored)),
        torch.ones_like(tokens, dtype=torch.bool) if valid is None else torch.from_numpy(np.ascontiguousarray(valid)),
        {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in roles.items()},
        {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in truth.items()},
    )
