"""How many pairs an associative memory holds, by what is asked of it: no interference, half the signal, or the right value.

For a Hebbian memory of unit keys and n pairs, what key i reads is its value plus the crosstalk `sum_j (k_j k_i) v_j` over the
others.
"""

from math import sqrt

import torch
from torch import Tensor

from .memory import Memory

INTERFERENCE = 0.5
"""Crosstalk that is still error-free: half the value, so that no other value can be nearer."""
SURE = 0.95


def expected_cosine(pairs: int, dim: float, heads: int = 1) -> float:
    """Return the cosine between what is read and the value of m heads with random keys, `1 / sqrt(1 + (n - 1) / (m d))`.

    Derived for random unit keys and values: the square of the crosstalk is (n - 1) / d on average, and that of a mean over m
    heads is an m-th of it.
    """
    return 1 / sqrt(1 + (pairs - 1) / (heads * dim))


def random_keys(shape: tuple[int, ...], generator: torch.Generator, cosine: float = 0.0) -> Tensor:
    """Return random unit keys [..., pair, dim] with a direction in common, so that their mean cosine is the given one."""
    common = torch.randn(*shape[:-2], 1, shape[-1], generator=generator)
    common = common / common.norm(dim=-1, keepdim=True)
    own = torch.randn(*shape, generator=generator)
    own = own / own.norm(dim=-1, keepdim=True)
    keys = sqrt(cosine) * common + sqrt(1 - cosine) * own
    return keys / keys.norm(dim=-1, keepdim=True)


def cosine(one: Tensor, other: Tensor) -> Tensor:
    """Return the cosine of vectors [..., dim]."""
    return torch.nn.functional.cosine_similarity(one, other, dim=-1)


def recalled(memory: Memory, k: Tensor, v: Tensor) -> Tensor:
    """Return what a memory of all pairs gives for each of its keys, [..., pair, value_dim]."""
    return k @ memory.scan(k, k, v)[1].mT


def nearest(read: Tensor, v: Tensor) -> Tensor:
    """Return whether each thing read [..., pair, value_dim] is nearest to its own value by cosine, [..., pair] bool."""
    unit = v / v.norm(dim=-1, keepdim=True)
    return (read @ unit.mT).argmax(-1) == torch.arange(v.shape[-2], device=v.device)


def guaranteed(keys: Tensor, margin: float = INTERFERENCE, sure: float = SURE) -> int:
    """Return the most pairs without interference, whatever the unit values: `max_i sum_j |k_i k_j|` below the margin.

    Shape of keys: [draw, pair, dim], unit; it has to hold for the first n keys of a share `sure` of the draws.
    """
    gram = (keys @ keys.mT).abs()
    gram.diagonal(dim1=-2, dim2=-1).zero_()
    sums = gram.cumsum(-1)  # [draw, i, n - 1]: from the first n keys
    stored = torch.ones_like(gram, dtype=torch.bool).triu()  # key i is there once n > i
    worst = torch.where(stored, sums, 0.0).amax(-2)
    fine = (worst < margin).float().mean(0) >= sure
    return int(fine.int().cumprod(0).sum())


def half_power(keys: Tensor) -> float:
    """Return the pairs at which crosstalk is as strong as the value, on average over random values: `1 + 1 / mean (k_i k_j)^2`.

    Shape of keys: [..., pair, dim], unit, at least two pairs.
    """
    gram = keys @ keys.mT
    n = gram.shape[-1]
    off = (gram.square().sum((-2, -1)) - gram.diagonal(dim1=-2, dim2=-1).square().sum(-1)) / (n * (n - 1))
    return 1 + 1 / float(off.mean().clamp_min(torch.finfo(gram.dtype).tiny))
