"""Whether larger models of a family do better: slopes of accuracy and of loss against the logarithm of their size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Slope:
    """What a factor e in parameters adds, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scaling:
    """Slopes of accuracy and loss; it is a `ceiling` where that of loss is below 0 and that of accuracy may be 0."""

    accuracy: Slope
    loss: Slope

    @property
    def ceiling(self) -> bool:
        """Whether loss falls with size, and accuracy cannot be told to rise."""
        return self.loss.high < 0 and self.accuracy.low <= 0 <= self.accuracy.high


def scaling(parameters: Sequence[float], right: Any, loss: Any, draws: int = 1500, seed: int = 0) -> Scaling:
    """Fit both slopes by least squares over models, with a percentile bootstrap over items, which all models share.

    Shapes: right and loss [model, item]. Models are taken as given, so that intervals are for this family on other items. Source:
    arXiv 2510.21866. Raises ValueError for fewer than two sizes, and for tables of other shapes.
    """
    size, right, loss = (np.asarray(one, float) for one in (parameters, right, loss))
    if len(set(size.tolist())) < 2 or right.shape != loss.shape or right.shape[0] != len(size):
        raise ValueError(
            f"slopes need two sizes or more, found {len(set(size.tolist()))}, and [model, item] tables, found "
            f"{list(right.shape)} and {list(loss.shape)}"
        )
    x = np.log(size) - np.log(size).mean()
    weights = x / (x @ x)  # the slope is linear in the means
    chosen = np.random.default_rng(seed).integers(0, right.shape[1], (draws, right.shape[1]))
    return Scaling(_slope(weights @ right, chosen), _slope(weights @ loss, chosen))


def _slope(items: NDArray[np.float64], chosen: NDArray[np.int64]) -> Slope:
    low, high = np.percentile(items[chosen].mean(1), [2.5, 97.5])
    return Slope(float(items.mean()), float(low), float(high))
