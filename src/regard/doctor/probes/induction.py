"""Heads that attend to what came after the last time that the current token was seen."""

import torch
from torch import Tensor

from ...lens import Lens
from ..known import Fact, Measured
from ._heads import ranked, scores
from ._sequences import plain, repeated


def measure(lens: Lens, fact: Fact) -> Measured:
    """Rank heads by their weight there on repeated tokens, less that at the same distance where nothing is repeated."""
    once = plain(lens)
    twice, periods = repeated(once)
    pairs = _after_the_same(twice.shape[1], periods)
    found = scores(lens, {"input_ids": twice}, pairs) - scores(lens, {"input_ids": once}, pairs)
    return ranked(found, fact)


def _after_the_same(length: int, periods: Tensor) -> Tensor:
    """Return the pairs [row, query, key] of each query in the second saying, and the key after its token in the first."""
    pairs = torch.zeros(len(periods), length, length, dtype=torch.bool)
    for row, period in enumerate(periods.tolist()):
        at = torch.arange(length - period, length)
        pairs[row, at, at - period + 1] = True
    return pairs
