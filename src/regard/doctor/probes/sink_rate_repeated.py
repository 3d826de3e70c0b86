"""The first token as a sink where each text is one token over and over."""

from ...lens import Lens
from ..known import Fact, Measured
from ..made import random_ids
from ._sinks import TEXTS, TOKENS, rate


def measure(lens: Lens, fact: Fact) -> Measured:
    """Take a random token for each text; raises ValueError for a model without a vocabulary."""
    ids = random_ids(lens.model, TEXTS, 1)
    if ids is None:
        raise ValueError("this model has no vocabulary to draw tokens from")
    return rate(lens, ids.expand(-1, TOKENS), fact)
