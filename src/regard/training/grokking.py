"""What a sweep over weight decay says: when runs grok, above which weight decay, and how that depends on the horizon."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .history import History

GROKKED = 0.99
Floats = NDArray[np.float64]


def grok_step(history: History, accuracy: float = GROKKED) -> int | None:
    """Return the first step at which held-out accuracy was at least so much, None if it never was."""
    for row in history.rows:
        if (row.get("eval_accuracy") or 0) >= accuracy:
            return int(row["step"] or 0)
    return None


@dataclass(frozen=True)
class Boundary:
    """A law of grokking, `P = 1 / (1 + exp(-sharpness (ln decay - ln critical)))`, with a 95 % interval of `critical`."""

    critical: float
    sharpness: float
    low: float
    high: float


STEEPEST = 50.0
"""Where runs are parted by weight decay without exception, no sharpness is the likeliest."""


def boundary(decays: Sequence[float], grokked: Sequence[bool], draws: int = 1500, seed: int = 0) -> Boundary:
    """Fit the weight decay from which on runs grok, by maximum likelihood over runs, with a percentile bootstrap over them.

    Source: arXiv 2605.20441. Raises ValueError where all runs grok or none does: then there is no boundary within them.
    """
    x, y = np.log(np.asarray(decays, float)), np.asarray(grokked, float)
    if len(set(y)) < 2:
        raise ValueError(
            f"{'all' if y.all() else 'none'} of {len(y)} runs grok: there is no boundary within these weight decays"
        )
    at, sharpness = _logistic(x, y)
    rng, found = np.random.default_rng(seed), list[float]()
    while len(found) < draws:
        chosen = rng.integers(0, len(x), len(x))
        if len(set(y[chosen])) == 2:
            found.append(_logistic(x[chosen], y[chosen])[0])
    low, high = np.percentile(found, [2.5, 97.5])
    return Boundary(exp(at), sharpness, exp(low), exp(high))


def _logistic(x: Floats, y: Floats) -> tuple[float, float]:
    """The centre and sharpness of the likeliest logistic law; the centre of a gap where x parts y."""
    below, above = x[y == 0].max(), x[y == 1].min()
    if below < above:
        return (below + above) / 2, STEEPEST
    from scipy.optimize import minimize

    def cost(p: Floats) -> tuple[float, Floats]:
        z = p[1] * (x - p[0])
        error = 1 / (1 + np.exp(-z)) - y
        return float(np.logaddexp(0, z).sum() - (y * z).sum()), np.array(
            [-p[1] * error.sum(), (error * (x - p[0])).sum()]
        )

    start = np.array([x.mean(), 2.0])
    best = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=[(x.min() - 2, x.max() + 2), (0.05, STEEPEST)])
    return float(best.x[0]), float(best.x[1])


@dataclass(frozen=True)
class PowerLaw:
    """`steps = factor (decay - critical)^(-exponent)`, with the jackknife's standard error of the exponent."""

    factor: float
    exponent: float
    error: float


def power_law(decays: Sequence[float], steps: Sequence[int], critical: float = 0.0) -> PowerLaw:
    """Fit the time to grok by least squares of logarithms over runs that grokked; those at or below `critical` are left out.

    Source: arXiv 2605.20441. Raises ValueError for fewer than three runs, or of one weight decay only.
    """
    pairs = [(log(decay - critical), log(step)) for decay, step in zip(decays, steps, strict=True) if decay > critical]
    x, y = (np.array(side) for side in zip(*pairs, strict=True)) if pairs else (np.empty(0), np.empty(0))
    if len(x) < 3 or len(set(x)) < 2:
        raise ValueError("a power law takes three runs that grokked, at two weight decays or more")
    slope, at = np.polyfit(x, y, 1)
    left = [np.polyfit(np.delete(x, i), np.delete(y, i), 1)[0] for i in range(len(x)) if len(set(np.delete(x, i))) > 1]
    error = float(np.sqrt((len(left) - 1) / len(left) * np.sum((left - np.mean(left)) ** 2)))
    return PowerLaw(exp(at), -float(slope), error)


def held_out_error(features: Any, target: Any, groups: Sequence[Any], ridge: float = 1.0) -> Floats:
    """Return the squared error of each run's target, predicted by a ridge regression on the runs of all other groups.

    Shape of features: [run, feature], standardised by the runs that are fitted. Raises ValueError for a single group.
    """
    x, y, group = np.asarray(features, float), np.asarray(target, float), np.asarray(groups)
    if len(set(groups)) < 2:
        raise ValueError("a prediction is judged on another group of runs than it was fitted to, and there is one")
    errors = np.empty(len(y))
    for one in set(groups):
        fitted, judged = group != one, group == one
        centre, spread = x[fitted].mean(0), x[fitted].std(0)
        inside, outside = ((x[rows] - centre) / np.where(spread > 0, spread, 1.0) for rows in (fitted, judged))
        weight = np.linalg.solve(
            inside.T @ inside + ridge * np.eye(x.shape[1]), inside.T @ (y[fitted] - y[fitted].mean())
        )
        errors[judged] = (outside @ weight + y[fitted].mean() - y[judged]) ** 2
    return errors
