"""Heads that attend to the token before, on random tokens; the first two rows, which see little else, are left out."""

import torch

from ...lens import Lens
from ..known import Fact, Measured
from ._heads import ranked, scores
from ._sequences import plain


def measure(lens: Lens, fact: Fact) -> Measured:
    """Rank heads by their mean weight on the token before."""
    ids = plain(lens)
    pairs = torch.zeros(*ids.shape, ids.shape[1], dtype=torch.bool)
    at = torch.arange(2, ids.shape[1])
    pairs[:, at, at - 1] = True
    return ranked(scores(lens, {"input_ids": ids}, pairs), fact)
