"""Intervals over texts."""

import math

import numpy as np
from numpy.typing import NDArray

FEWEST = 8
NORMAL = 1.959963985  # the 97.5 % point of the normal distribution


def t_quantile(freedom: int) -> float:
    """The 97.5 % point of Student's t, by Hill's expansion (within 0.001 from 7 degrees of freedom on)."""
    z = NORMAL
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def interval(mean: float, std: float | NDArray[np.float64], texts: int) -> tuple[float, float] | None:
    """The 95 % t interval of a mean over texts, from the sample's deviation; None for fewer than `FEWEST`.

    For a mean over several heads, `std` holds each head's deviation: their mean bounds the deviation of the
    mean over heads, so the interval is at least as wide as it should be.
    """
    if texts < FEWEST:
        return None
    half = t_quantile(texts - 1) * float(np.nanmean(std)) / math.sqrt(texts)
    return mean - half, mean + half
