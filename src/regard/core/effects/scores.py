"""Effects on scores, before the softmax. What the mask forbids stays forbidden, whatever they do."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

from ..terms import Block as At
from ..terms import OfBlock, shifted
from .effect import Effect, Stage, cut, cut_heads

if TYPE_CHECKING:
    from ..operands import Operands


@dataclass(frozen=True, eq=False)
class ScoreEffect(Effect):
    """A change of scores."""

    stage: ClassVar[Stage] = "scores"

    def on_scores(self, scores: Tensor, block: At) -> Tensor:
        """Change a block of scores [batch, head, row, col]; -inf are those of keys that the row does not see."""
        raise NotImplementedError

    def on_operands(self, op: "Operands") -> "Operands":
        """Return the operands whose attention is the changed one."""
        return replace(op, laws=(*op.laws, self))


@dataclass(frozen=True, eq=False)
class Bias(ScoreEffect):
    """Add to the scores; -inf blocks.

    Shape: broadcastable to [batch, head, query, key] in all four axes. `log w` scales a key's weight by w before it is
    normalised. With `rows` [batch or 1, head or 1, query] what is added is `rows_i * bias_ij`, so that a rectangle of
    queries and keys takes no quadratic tensor; a row of factor 0 keeps its scores, also where the bias is -inf.
    """

    bias: Tensor
    rows: Tensor | None = None

    @property
    def acting(self) -> Tensor:
        acting = super().acting.to(self.bias.device) & (self.bias != 0).any(-1)
        return acting if self.rows is None else acting & (self.rows != 0)

    def select(self, heads: Tensor | None, queries: slice, of: int) -> Self:
        rows = None if self.rows is None else cut(self.rows, heads, queries)
        return replace(super().select(heads, queries, of), bias=cut(self.bias, heads, queries), rows=rows)

    def on_scores(self, scores: Tensor, block: At) -> Tensor:
        span = slice(*block.rows)
        bias = cut(self.bias, None, span)
        bias = bias[..., slice(*block.cols)] if bias.shape[-1] > 1 else bias
        if self.rows is not None:
            rows = cut(self.rows, None, span)[..., None].to(bias.dtype)
            bias = torch.where(rows == 0, 0.0, bias) * rows
        return self.limit(scores + bias.to(scores.dtype), scores, span)

    def on_operands(self, op: "Operands") -> "Operands":
        if self.rows is not None or self.where is not None or op.laws:
            return super().on_operands(op)
        bias = self.bias.expand(*self.bias.shape[:3], op.k_len)  # a view, so that keys can be taken from it
        return replace(op, bias=bias if op.bias is None else op.bias + bias)


@dataclass(frozen=True, eq=False)
class Block(ScoreEffect):
    """Hide keys from rows: a row that is left without any key has output 0.

    Shapes: keys [batch or 1, head or 1, key] bool, True for those to hide; rows [batch or 1, head or 1, query] bool,
    from whom, None for all.
    """

    keys: Tensor
    rows: Tensor | None = None

    @property
    def acting(self) -> Tensor:
        acting = super().acting.to(self.keys.device) & self.keys.any(-1, keepdim=True)
        return acting if self.rows is None else acting & self.rows

    def select(self, heads: Tensor | None, queries: slice, of: int) -> Self:
        rows = None if self.rows is None else cut(self.rows, heads, queries)
        return replace(super().select(heads, queries, of), keys=cut_heads(self.keys, heads), rows=rows)

    def on_scores(self, scores: Tensor, block: At) -> Tensor:
        hidden = self.keys[:, :, None, slice(*block.cols)]
        if self.rows is not None:
            hidden = hidden & cut(self.rows, None, slice(*block.rows))[..., None]
        return self.limit(scores.masked_fill(hidden, float("-inf")), scores, slice(*block.rows))

    def on_operands(self, op: "Operands") -> "Operands":
        if self.rows is not None or self.where is not None or op.laws:
            return super().on_operands(op)
        return replace(op, mask=op.mask.without(self.keys))


@dataclass(frozen=True, eq=False)
class SetScores(ScoreEffect):
    """Put the scores through any function, `fn(scores, block) -> scores`, both [batch, head, row, col], block by block.

    fn sees -inf for keys that the row does not see, and whatever it returns for them is -inf again.
    """

    fn: OfBlock

    def select(self, heads: Tensor | None, queries: slice, of: int) -> Self:
        return replace(super().select(heads, queries, of), fn=shifted(self.fn, heads, queries.start or 0))

    def on_scores(self, scores: Tensor, block: At) -> Tensor:
        new = torch.where(scores.isneginf(), scores, self.fn(scores, block))
        return self.limit(new, scores, slice(*block.rows))
