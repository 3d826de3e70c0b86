"""Attention over disjoint sets of keys, merged by their log-sum-exps (fact 8)."""

import torch

from .scores import MASKED
from .terms import Attended


def merge(*attended: Attended) -> Attended:
    """Merge the attention of the same queries over disjoint sets of keys, as if they had been one set.

    A row that sees nothing of any set has output 0 and log-sum-exp -inf; gradients stay finite there.
    """
    lses = torch.stack([one.lse for one in attended])
    blind = lses.isneginf()
    total = torch.logsumexp(lses.masked_fill(blind, MASKED), 0)
    shares = torch.exp(lses.masked_fill(blind, MASKED) - total).masked_fill(blind, 0.0)
    out = sum(one.out.to(share.dtype) * share[..., None] for one, share in zip(attended, shares, strict=True))
    assert isinstance(out, torch.Tensor)
    return Attended(out.to(attended[0].out.dtype), total.masked_fill(blind.all(0), float("-inf")))
