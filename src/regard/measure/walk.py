"""Stacked attention as a random walk on the graph of its mask: where the walk ends, in closed form (arXiv 2502.01951).

Layers of attention alone, `X' = A X W`, give the last token's state as a mixture of the inputs; the walk is the product of the
weights. A residual connection lets the walk stay where it is, and is not part of that paper: every function here says whether
it has one.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def rollout(weights: Sequence[Tensor], shares: Sequence[float] | float) -> Tensor:
    """Return the product of `(1 - share) I + share A` over layers, the last one leftmost, [..., query, key] in float64.

    `weights` are maps [..., query, key] of the layers, first to last. `shares` are attention's shares of the residual stream: 1
    leaves the residual connection out, as arXiv 2502.01951 does, and 0.5 is attention rollout (arXiv 2005.00928). Raises
    ValueError for no layers, for shares out of [0, 1], and for another number of shares than layers.
    """
    given = [float(shares)] * len(weights) if isinstance(shares, int | float) else [float(share) for share in shares]
    if not weights or len(given) != len(weights) or any(not 0 <= share <= 1 for share in given):
        raise ValueError(f"a rollout needs a share in [0, 1] for each layer: {len(weights)} layers, shares {given}")
    walk = torch.eye(weights[0].shape[-1], dtype=torch.float64, device=weights[0].device)
    for layer, share in zip(weights, given, strict=True):
        walk = (1 - share) * walk + share * (layer.double() @ walk)
    return walk


def centres(mask: Tensor) -> Tensor:
    """Return which tokens every token can get its state from, over enough layers, bool [key]: the centre nodes of a mask.

    `mask` [query, key] bool is True where a query sees a key. Source: arXiv 2502.01951, section 3.
    """
    return _hops(mask).isfinite().all(0)


def hops(mask: Tensor) -> int:
    """Return the fewest layers over which every token can get its state from every centre node; raises ValueError without one."""
    least = _hops(mask)
    chosen = least.isfinite().all(0)
    if not bool(chosen.any()):
        raise ValueError("this mask has no centre node: no token can be reached by all others")
    return int(least[:, chosen].max())


def _hops(mask: Tensor) -> Tensor:
    """Return the fewest steps from each query to each key, [query, key] float64, inf where there is no path."""
    n = mask.shape[-1]
    least = torch.where(torch.eye(n, dtype=torch.bool, device=mask.device), 0.0, torch.inf).double()
    step, reached = mask.double(), least.isfinite().double()
    for count in range(1, n):
        further = ((step @ reached + reached) > 0).double()
        new = (further > 0) & least.isinf()
        if not bool(new.any()):
            break
        least[new], reached = count, further
    return least


def survival_bound(floor: float, token: int, layers: int) -> float:
    """Return the most that a causal walk of attention alone leaves on tokens from number `token` on: `(1 - token floor)^layers`.

    `floor` is the least weight that a query gives to a key that it sees. It is the theorem of arXiv 2502.01951, section 4.1, with
    its constant: from any later token, each layer carries `token * floor` or more to the tokens before it. Tokens count from 0.
    Raises ValueError where `token * floor` is no share.
    """
    if not 0 <= token * floor <= 1:
        raise ValueError(f"{token} keys cannot each have a weight of {floor}: rows sum to 1")
    return float((1 - token * floor) ** layers)


def decay_profile(layers: int, slope: float, length: int) -> Tensor:
    """Return where a walk of attention alone ends under a distance decay, by distance back, [length] in float64.

    Scores are `-slope * distance` and nothing else, and the left edge is far. One layer is geometric, and their sum is negative
    binomial: `(1 - q)^layers binom(layers - 1 + x, x) q^x` with `q = exp(-slope)`, of which arXiv 2502.01951, section 4.2, has
    the order in x. Raises ValueError unless there are layers, a length and a decay.
    """
    if layers < 1 or length < 1 or not slope > 0:
        raise ValueError(
            f"a decay profile needs layers, a length and a slope above 0, not {layers}, {length} and {slope}"
        )
    x = torch.arange(length, dtype=torch.float64)
    return (_log_paths(x, layers) - slope * x + layers * math.log1p(-math.exp(-slope))).exp()


def decay_peak(layers: int, slope: float) -> float:
    """Return the distance whose floor is the peak of `decay_profile`: `(layers - 1) / (exp(slope) - 1)`."""
    return (layers - 1) / math.expm1(slope)


def rotary_profile(layers: int, curvature: float, length: int) -> Tensor:
    """Return the profile that arXiv 2502.01951, section 4.3, gives for rotary embeddings, by distance back, [length], sum 1.

    It is `binom(layers - 1 + x, x) exp(-curvature x^2)`, where `curvature` is the paper's `c theta^2` (in more dimensions, the
    sum over frequencies). An order in x, up to constants that the paper does not give, and no identity. Raises as
    `decay_profile`.
    """
    if layers < 1 or length < 1 or not curvature > 0:
        raise ValueError(
            f"a rotary profile needs layers, a length and a curvature above 0, not {layers}, {length} and {curvature}"
        )
    x = torch.arange(length, dtype=torch.float64)
    return (_log_paths(x, layers) - curvature * x**2).softmax(0)


def _log_paths(x: Tensor, layers: int) -> Tensor:
    """Return the logarithm of how many ways there are to go back x places in so many steps: binom(layers - 1 + x, x)."""
    return torch.lgamma(x + layers) - torch.lgamma(x + 1) - math.lgamma(layers)
