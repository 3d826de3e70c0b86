"""Massive activations: single numbers of the residual stream far above the others of their layer (arXiv 2402.17762)."""

from dataclasses import dataclass

from torch import Tensor

MASSIVE = 50.0
"""Times the median magnitude of the layer."""
MOST = 20


@dataclass(frozen=True)
class MassiveActivation:
    """One of them: its token and dimension, its value, and that of its magnitude over the layer's median."""

    token: int
    dim: int
    value: float
    ratio: float


def massive_activations(stream: Tensor, ratio: float = MASSIVE, most: int = MOST) -> list[MassiveActivation]:
    """Return what is more than `ratio` times the median magnitude of a stream [token, width], at most so many, largest first.

    The threshold of the source, which also asks for a value above 100, is 1000; none of either is in most small models.
    """
    size = stream.abs()
    median = float(size.median())
    if not median:
        return []
    top = size.flatten().topk(min(most, size.numel()))
    found = []
    for place, value in zip(top.indices.tolist(), top.values.tolist(), strict=True):
        token, dim = divmod(place, stream.shape[1])
        if value > ratio * median:
            found.append(MassiveActivation(token, dim, float(stream[token, dim]), value / median))
    return found
