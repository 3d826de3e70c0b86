"""Sequences of random tokens on which heads show what they do."""

import torch
from torch import Tensor

from ...lens import Lens
from ..made import random_ids

ROWS, LENGTH, SHORTEST, LONGEST = 8, 64, 18, 28


def plain(lens: Lens, rows: int = ROWS, length: int = LENGTH) -> Tensor:
    """Return random ids [row, token], the first of them the token that begins a text where there is one.

    Raises ValueError for a model without a vocabulary.
    """
    ids = random_ids(lens.model, rows, length)
    if ids is None:
        raise ValueError(f"{type(lens.model).__name__} has no vocabulary to draw tokens from")
    begin = getattr(getattr(lens.model, "config", None), "bos_token_id", None)
    if isinstance(begin, int):
        ids[:, 0] = begin
    return ids


def repeated(ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return ids of which each row ends in a piece said twice, and the length of that piece in each row, [row].

    Its length differs from row to row, so that a head with a fixed offset is not taken for one that compares tokens.
    """
    rows, length = ids.shape
    periods = torch.linspace(SHORTEST, LONGEST, rows).round().long()
    twice = ids.clone()
    for row, period in enumerate(periods.tolist()):
        twice[row, length - period :] = twice[row, length - 2 * period : length - period]
    return twice, periods
