"""Where cross-attention goes by classes of the source's tokens, and what is left when only words count (arXiv 2605.01229).

Maps are `weights` [example, layer, head, step, source], rows summing to 1, with `steps` [example, step] bool (which are real) and
`classes` [example, source] int, 0 for content, -1 for padding. What is filtered is what is left of maps, not what a model uses.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .profiles import spearman

Order = Literal["mean-first", "row-first"]
CONTENT = 0


def mean_distribution(weights: Tensor, steps: Tensor) -> Tensor:
    """Return the mean over layers, heads and steps, [example, source] in float64: the paper's one distribution of a text."""
    rows = weights.double().mean((1, 2)) * steps[..., None]
    return rows.sum(1) / steps.sum(1, keepdim=True)


def class_mass(distribution: Tensor, classes: Tensor, count: int) -> Tensor:
    """Return the mass on each of `count` classes, [example, class], of distributions [example, source]."""
    return torch.stack([(distribution * (classes == number)).sum(-1) for number in range(count)], -1)


def content_only(rows: Tensor, classes: Tensor, least: float = 0.0) -> Tensor:
    """Return rows [example, ..., source] on content alone, divided by what they have there; NaN where that is `least` or less."""
    content = (classes == CONTENT).reshape(len(classes), *[1] * (rows.ndim - 2), -1)
    kept = rows.double() * content
    mass = kept.sum(-1, keepdim=True)
    return kept / mass.where(mass > least, torch.nan)


class Filtered(NamedTuple):
    """A text's distribution over its content, [example, source], and the share of rows that had too little of it, [example]."""

    distribution: Tensor
    dropped: Tensor


def filtered(
    weights: Tensor, steps: Tensor, classes: Tensor, order: Order = "mean-first", least: float = 1e-3
) -> Filtered:
    """Return mean distributions over content alone.

    "mean-first" averages rows and filters then, so that steps count by their mass on content; "row-first" filters each row, which
    makes them count alike, and leaves out and counts those whose content has `least` or less. The paper's order is not
    established. Raises ValueError for another order.
    """
    if order == "mean-first":
        return Filtered(content_only(mean_distribution(weights, steps), classes), torch.zeros(len(weights)).double())
    if order != "row-first":
        raise ValueError(f"order is mean-first or row-first, not {order!r}")
    rows = content_only(weights, classes, least)
    kept = ~rows[..., 0].isnan() & steps[:, None, None]
    count = kept.sum((1, 2, 3))
    total = torch.where(kept[..., None], rows, 0.0).sum((1, 2, 3))
    every = steps.sum(1) * weights.shape[1] * weights.shape[2]
    return Filtered(total / count[:, None].where(count[:, None] > 0, torch.nan), 1 - count / every)


def flatness(distribution: Tensor, counted: Tensor) -> Tensor:
    """Return the cosine between a distribution and the even one over the tokens that are `counted`, [example].

    It is `1 / (sqrt(n) |a|)`: 1 for even attention. One reading of the paper's "similarity"; `agreement` is another.
    """
    a = distribution * counted
    return a.sum(-1) / (counted.sum(-1).double().sqrt() * a.norm(dim=-1))


def agreement(one: Tensor, other: Tensor) -> Tensor:
    """Return the cosine between two distributions over the same source, [example], as of two target languages or two modes."""
    return (one * other).sum(-1) / (one.norm(dim=-1) * other.norm(dim=-1))


def spike_flatness(share: float, tokens: int) -> float:
    """Return the flatness of one token with `share` of the mass and the rest even: what taking it out gains is arithmetic.

    Without that token the rest is even, and its flatness 1. Raises ValueError for a share out of [0, 1] or fewer than 2 tokens.
    """
    if not 0 <= share <= 1 or tokens < 2:
        raise ValueError(f"a spike has a share in [0, 1] of 2 tokens or more, not {share} of {tokens}")
    return 1 / math.sqrt(tokens * (share**2 + (1 - share) ** 2 / (tokens - 1)))


def entropies(distribution: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the entropy in nats and the same over the logarithm of the number of `counted` tokens, each [example]."""
    entropy = torch.special.entr(distribution * counted).sum(-1)
    return entropy, entropy / counted.sum(-1).double().log()


def monotonicity(weights: Tensor, steps: Tensor, classes: Tensor) -> Tensor:
    """Return Spearman's correlation of step and mean place of the content that is attended to, [example].

    Places are counted in the source, and steps without content are left out. The paper's definition is not established.
    """
    rows = content_only(weights.double().mean((1, 2)), classes, 1e-3)
    centre = (rows * torch.arange(rows.shape[-1])).sum(-1)
    kept = steps & ~centre.isnan()
    return torch.tensor(
        [spearman(torch.arange(int(real.sum())), one[real]) for one, real in zip(centre, kept, strict=True)]
    )


def aligned(rows: Tensor, gold: Tensor, classes: Tensor | None = None) -> float:
    """Return the share of steps whose row has its largest weight on a token that it is aligned with, NaN without such steps.

    Shapes: rows [example, step, source], gold the same in bool; with `classes`, only content counts in rows.
    """
    if classes is not None:
        rows = rows.masked_fill((classes != CONTENT)[:, None], -1.0)
    meant = gold.any(-1)
    return float(gold.gather(-1, rows.argmax(-1, keepdim=True))[..., 0][meant].float().mean())


def shuffled(rows: Tensor, classes: Tensor, seed: int) -> Tensor:
    """Return rows [example, step, source] with the weights of content in another order in each of them: the null of a filter."""
    generator = torch.Generator().manual_seed(seed)
    content = (classes == CONTENT)[:, None].expand_as(rows)
    key = torch.rand(rows.shape, generator=generator)
    order = key.masked_fill(~content, 2.0).argsort(dim=-1, stable=True)  # content in random order, then the rest
    place = torch.arange(rows.shape[-1]).masked_fill(~content, rows.shape[-1]).argsort(dim=-1, stable=True)
    return torch.zeros_like(rows).scatter(-1, place, rows.gather(-1, order))


def null_score(rows: Tensor, gold: Tensor, classes: Tensor, draws: int = 20) -> float:
    """Return by how many standard deviations `aligned` of filtered rows is above that of `shuffled` ones; inf without any."""
    found = torch.tensor([aligned(shuffled(rows, classes, seed), gold, classes) for seed in range(draws)])
    spread, lead = float(found.std()), aligned(rows, gold, classes) - float(found.mean())
    return lead / spread if spread else math.inf
