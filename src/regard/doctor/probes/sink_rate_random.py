"""The first token as a sink where all tokens are drawn at random."""

from ...lens import Lens
from ..known import Fact, Measured
from ..made import random_ids
from ._sinks import TEXTS, TOKENS, rate


def measure(lens: Lens, fact: Fact) -> Measured:
    """Take random tokens; raises ValueError for a model without a vocabulary."""
    ids = random_ids(lens.model, TEXTS, TOKENS)
    if ids is None:
        raise ValueError("this model has no vocabulary to draw tokens from")
    return rate(lens, ids, fact)
