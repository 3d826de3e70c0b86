"""How alike the heads of a layer are."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.call import Call
from ..core.reduce import Moments
from ..core.terms import Block, Rows, Term


@dataclass(frozen=True)
class HeadSimilarity:
    """Cosine between the maps of two heads of a layer, each taken as one long vector, [layer, head, head].

    Heads that spread their attention evenly are alike by their mask alone. With `centred` the even map over the keys that
    a query can see is subtracted first, and what is compared is how heads depart from it. The cosine is taken in each
    text. NaN for a head whose map is all zero.
    """

    centred: bool = False
    axes: ClassVar[tuple[str, ...]] = ("layer", "head", "head")

    @property
    def name(self) -> str:
        """Key of the result."""
        return "centred_head_similarity" if self.centred else "head_similarity"

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the products between heads, row by row."""
        gram = yield from _gram(call, self.centred)
        square = gram.diagonal(dim1=-2, dim2=-1)
        norm = torch.where(square > 0, square, torch.nan).sqrt()
        return gram / norm[..., :, None] / norm[..., None, :]


@dataclass(frozen=True)
class HeadProducts:
    """Inner products between the maps of two heads of a layer, each taken as one long vector, [layer, head, head].

    Their mean over texts gives the cosine between maps that are joined over all texts, as `HeadSimilarity` in each text. With
    `centred` the even map is subtracted first.
    """

    centred: bool = False
    axes: ClassVar[tuple[str, ...]] = ("layer", "head", "head")

    @property
    def name(self) -> str:
        """Key of the result."""
        return "centred_head_products" if self.centred else "head_products"

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the products between heads, row by row."""
        return (yield from _gram(call, self.centred))


def _gram(call: Call, centred: bool) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
    def products(weights: Tensor, block: Block) -> Tensor:
        if centred:
            weights = weights - _even(weights, block)
        rows = weights.transpose(1, 2)  # [batch, row, head, col]
        return (rows @ rows.transpose(-1, -2)).transpose(1, 2)

    got = yield {"products": Rows(products, all_heads=True)}
    real = (call.qpos >= 0)[:, None, :, None]  # a dead row's products are 0
    return torch.where(real, got["products"], 0.0).sum(2)


def _even(weights: Tensor, block: Block) -> Tensor:
    assert block.seen is not None
    seen = block.seen.to(weights.dtype)
    return seen / seen.sum(-1, keepdim=True).clamp_min(1)
