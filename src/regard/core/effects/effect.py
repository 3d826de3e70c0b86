"""What all effects have in common: a stage, the rows on which they act, and how they are cut to some heads and queries."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

Stage = Literal["inputs", "scores", "weights", "outputs"]
STAGES: tuple[Stage, ...] = ("inputs", "scores", "weights", "outputs")


def cut(tensor: Tensor, heads: Tensor | None, queries: slice) -> Tensor:
    """Take some heads and queries of a tensor [batch or 1, head or 1, query or 1, ...], leaving broadcast axes alone."""
    if tensor.shape[2] > 1:
        tensor = tensor[:, :, queries]
    return cut_heads(tensor, heads)


def cut_heads(tensor: Tensor, heads: Tensor | None) -> Tensor:
    """Take some heads of a tensor [batch or 1, head or 1, ...]."""
    return tensor[:, heads] if heads is not None and tensor.shape[1] > 1 else tensor


def cut_kv_heads(tensor: Tensor, heads: Tensor | None, of: int) -> Tensor:
    """Take what serves some of `of` query heads of a tensor [batch or 1, kv_head, ...], once for each of them."""
    return tensor if heads is None or tensor.shape[1] == 1 else tensor[:, heads // (of // tensor.shape[1])]


@dataclass(frozen=True, eq=False)
class Effect:
    """A change of one attention.

    `where` [batch or 1, head or 1, query or 1] bool is where it acts, None for everywhere; see `only`.
    """

    where: Tensor | None = field(default=None, kw_only=True)
    stage: ClassVar[Stage]

    def only(self, mask: Tensor) -> Self:
        """Return the effect on some rows, [batch or 1, head or 1, query or 1] bool; all others stay bit-equal."""
        return replace(self, where=mask if self.where is None else self.where & mask)

    def select(self, heads: Tensor | None, queries: slice, of: int) -> Self:
        """Return the effect on some heads (indices among `of`; None for all) and a range of queries."""
        return self if self.where is None else replace(self, where=cut(self.where, heads, queries))

    @property
    def acting(self) -> Tensor:
        """The rows that it may change at its strength, [batch or 1, head or 1, query or 1] bool."""
        return torch.ones(1, 1, 1, dtype=torch.bool) if self.where is None else self.where

    def limit(self, new: Tensor, old: Tensor, rows: slice = slice(None)) -> Tensor:
        """Return `new` on the rows where the effect acts and `old` elsewhere, both [batch, head, row, ...]."""
        return new if self.where is None else torch.where(cut(self.where, None, rows)[..., None], new, old)
