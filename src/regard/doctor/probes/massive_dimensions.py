"""Dimensions of the residual stream that are huge at the first token of every text."""

import torch

from ...lens import Lens
from ..inputs import short_inputs
from ..known import Fact, Measured

SKIPPED = 2
"""Blocks at either end in which the values are not yet, or no longer, there."""


def measure(lens: Lens, fact: Fact) -> Measured:
    """Take the largest values at the first token, in shares of its root mean square: the median over blocks and texts."""
    x = short_inputs(lens)
    layers = lens.model.config.get_text_config().num_hidden_layers  # type: ignore[union-attr, operator]
    names = [f"resid_pre.{layer}" for layer in range(SKIPPED, layers - SKIPPED + 1)]
    first = torch.cat([state[:, 0] for state in lens.cache(x, names).values()]).float()
    size = (first.abs() / first.square().mean(-1, keepdim=True).sqrt()).median(0).values
    top = size.topk(len(fact.expected) + 1)
    found = sorted(top.indices[:-1].tolist())
    told = ", ".join(f"{at} ({value:.0f})" for at, value in zip(top.indices.tolist(), top.values.tolist(), strict=True))
    expected = ", ".join(map(str, fact.expected))
    return Measured(found == sorted(fact.expected), expected, f"largest are {told} times the root mean square")
