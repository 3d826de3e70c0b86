"""Intervals of paired runs: one number per seed, and what a handful of seeds can tell."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
POWER = 0.8


@dataclass(frozen=True)
class Spread:
    """The mean over seeds, its 95 % interval, and the smallest effect that as many seeds would find four times out of five."""

    mean: float
    low: float
    high: float
    detectable: float


def spread(values: Sequence[float]) -> Spread:
    """Return the mean of one value per seed with Student's interval; raises ValueError for fewer than two.

    Resampling five values gives intervals that miss the truth in a sixth of all cases, so the interval is not made that way.
    """
    count = len(values)
    if count < 2:
        raise ValueError(f"{count} runs have no interval")
    mean = float(np.mean(values))
    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    half = t_quantile((1 + LEVEL) / 2, count - 1) * error
    return Spread(mean, mean - half, mean + half, half + t_quantile(POWER, count - 1) * error)


def sign_test(right: int, count: int) -> float:
    """Return the chance that a fair coin falls on one side at least `right` times out of `count`."""
    return sum(math.comb(count, k) for k in range(right, count + 1)) / 2**count


def t_quantile(probability: float, freedom: int) -> float:
    """Return the quantile of Student's t for a probability of at least a half."""
    low, high = 0.0, 1.0
    while t_distribution(high, freedom) < probability:
        low, high = high, 2 * high
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_distribution(middle, freedom) < probability else (low, middle)
    return high


def t_distribution(t: float, freedom: int) -> float:
    """Return the chance of a Student's t below `t`, by the finite sums for whole degrees of freedom."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine = math.cos(angle)
    term, total = (cosine if freedom % 2 else 1.0), 0.0
    for k in range(2 + freedom % 2, freedom + 1, 2):
        total += term
        term *= (k - 1) / k * cosine**2
    if freedom % 2:
        return 0.5 + (angle + math.sin(angle) * total) / math.pi
    return 0.5 + math.sin(angle) * total / 2
