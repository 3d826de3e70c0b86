"""Profiles over positions, and how two of them compare."""

from collections.abc import Sequence

import torch
from torch import Tensor


def thirds(profile: Tensor) -> tuple[float, float, float]:
    """Return the mass on the first, middle and last third of a profile [token]; a token on a border counts where it begins.

    Raises ValueError for fewer than three tokens.
    """
    n = len(profile)
    if n < 3:
        raise ValueError(f"a profile of {n} tokens has no thirds")
    part = 3 * torch.arange(n, device=profile.device) // n
    first, middle, last = (float(profile[part == place].sum()) for place in range(3))
    return first, middle, last


def spearman(a: Tensor, b: Tensor) -> float:
    """Return Spearman's rank correlation of two profiles [token], ties sharing their mean rank; NaN where one is constant.

    Raises ValueError for profiles of different lengths.
    """
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"two profiles of one length are compared, not {list(a.shape)} and {list(b.shape)}")
    ranks = torch.stack([_ranks(a), _ranks(b)])
    centred = ranks - ranks.mean(1, keepdim=True)
    norm = centred.norm(dim=1).prod()
    return float((centred[0] @ centred[1]) / norm) if float(norm) else float("nan")


def wasserstein(a: Tensor, b: Tensor) -> float:
    """Return the earth mover's distance (Wasserstein-1) of two profiles [token], each scaled to sum 1, in tokens."""
    cumulated: Sequence[Tensor] = [(one.double() / one.double().sum()).cumsum(0) for one in (a, b)]
    return float((cumulated[0] - cumulated[1]).abs().sum())


def _ranks(values: Tensor) -> Tensor:
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() - 1) / 2)[inverse]
