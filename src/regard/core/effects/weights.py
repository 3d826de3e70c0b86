"""Effects on weights, after the softmax.

They change the weights of the call's own keys. What a row gives to sink logits or extra keys stays theirs, unless a
method says otherwise in `on_extra`.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from ..terms import Block, OfBlock, Part, shifted
from .effect import Effect, Stage, cut, cut_heads

Renormalise = Literal[False, "mass", "one"]
"""Whether changed rows are scaled afterwards: back to the mass that they had, or to 1, of which sink logits and extra keys
then get nothing. An emptied or empty row stays empty, and a row whose factors are all 1 is left as it is."""


def gain(mass: Tensor, before: Tensor, renormalise: Renormalise) -> Tensor:
    """Return the factor that renormalises rows of a mass, [batch, head, query]; finite for an emptied one."""
    target = torch.ones_like(mass) if renormalise == "one" else before
    return target / mass.where(mass != 0, 1.0)


@dataclass(frozen=True, eq=False)
class WeightEffect(Effect):
    """A change of weights."""

    stage: ClassVar[Stage] = "weights"

    @property
    def whole_rows(self) -> bool:
        """True if it may give weight to keys that the row does not see."""
        return False

    def on_weights(self, weights: Tensor, block: Block) -> Tensor:
        """Change a block of weights [batch, head, row, col]; `block.seen` is there."""
        raise NotImplementedError

    def on_extra(self, extra: Tensor, weights: Tensor, block: Block) -> Tensor:
        """Change the weights of extra keys, [batch, head, row, extra], given those of the call's keys before the change."""
        return extra

    def keep(self, new: Tensor, old: Tensor, block: Block) -> Tensor:
        """Return `new` on the rows that the effect may change and `old` elsewhere, both [batch, head, row, ...]."""
        acting = cut(self.acting, None, slice(*block.rows)).to(new.device)
        return torch.where(acting[..., None], new, old)


def _scaled(weights: Tensor, factors: Tensor, renormalise: Renormalise) -> Tensor:
    new = weights * factors.to(weights.dtype)
    return new * gain(new.sum(-1), weights.sum(-1), renormalise)[..., None] if renormalise else new


def _ceded(extra: Tensor, weights: Tensor) -> Tensor:
    """Return the weights of extra keys after rows have gone to the call's keys alone, where they had any."""
    return extra.masked_fill((weights != 0).any(-1, keepdim=True), 0.0)


@dataclass(frozen=True, eq=False)
class Mix(WeightEffect):
    """Multiply the weights of whole key segments; keys of no segment keep theirs.

    `part` names the segments; `weights` are the factors, [batch or 1, head or 1, query or 1, segment], or a function of the
    masses that the segments have, `fn(mass, block) -> factors`, both [batch, head, row, segment]. A function takes one pass
    over the weights where asking for the masses first takes two.
    """

    part: Part
    weights: Tensor | OfBlock
    renormalise: Renormalise = False

    @property
    def acting(self) -> Tensor:
        acting = super().acting
        if not isinstance(self.weights, Tensor):
            return acting
        return acting.to(self.weights.device) & (self.weights != 1).any(-1)

    def select(self, heads: Tensor | None, queries: slice, of: int) -> Self:
        weights = self.weights
        weights = (
            cut(weights, heads, queries) if isinstance(weights, Tensor) else shifted(weights, heads, queries.start or 0)
        )
        return replace(super().select(heads, queries, of), weights=weights)

    def on_weights(self, weights: Tensor, block: Block) -> Tensor:
        w = self._factors(weights, block)
        labels = self.part.labels[:, slice(*block.cols)].remainder(w.shape[-1])
        batch = max(w.shape[0], labels.shape[0])
        index = labels[:, None, None].expand(batch, *w.shape[1:3], -1)
        factors = w.expand(batch, -1, -1, -1).gather(-1, index)
        new = torch.where((w != 1).any(-1, keepdim=True), _scaled(weights, factors, self.renormalise), weights)
        return self.keep(new, weights, block)

    def on_extra(self, extra: Tensor, weights: Tensor, block: Block) -> Tensor:
        if self.renormalise != "one":
            return extra
        changed = (self._factors(weights, block) != 1).any(-1, keepdim=True)
        return self.keep(torch.where(changed, _ceded(extra, weights), extra), extra, block)

    def _factors(self, weights: Tensor, block: Block) -> Tensor:
        """Return the factors of the segments and, last, of keys of none: [batch or 1, head or 1, row or 1, segment + 1]."""
        if isinstance(self.weights, Tensor):
            w = cut(self.weights, None, slice(*block.rows))
        else:
            labels = self.part.labels[:, slice(*block.cols)]
            chosen = torch.stack([labels == segment for segment in range(self.part.n)], -1).to(weights.dtype)
            w = self.weights(weights @ chosen[:, None], block)
        return torch.cat([w, torch.ones_like(w[..., :1])], -1)  # label -1 picks this last one


@dataclass(frozen=True, eq=False)
class KeyScale(WeightEffect):
    """Multiply the weight of each key by a factor of its own: w [batch or 1, head or 1, key]."""

    w: Tensor
    renormalise: Renormalise = False

    @property
    def acting(self) -> Tensor:
        return super().acting.to(self.w.device) & (self.w != 1).any(-1, keepdim=True)

    def select(self, heads: Tensor | None, queries: slice, of: int) -> Self:
        return replace(super().select(heads, queries, of), w=cut_heads(self.w, heads))

    def on_weights(self, weights: Tensor, block: Block) -> Tensor:
        factors = self.w[:, :, None, slice(*block.cols)]
        return self.keep(_scaled(weights, factors, self.renormalise), weights, block)

    def on_extra(self, extra: Tensor, weights: Tensor, block: Block) -> Tensor:
        return self.keep(_ceded(extra, weights), extra, block) if self.renormalise == "one" else extra


@dataclass(frozen=True, eq=False)
class Blend(WeightEffect):
    """Move rows towards the identity or the uniform row: `(1 - strength) A + strength T`. An empty row stays empty.

    `strength` is a number or [batch or 1, head or 1, query or 1]. The identity takes `at` [batch or 1, query], the key of
    each query itself, -1 where it has none and keeps its row. The uniform row is over the keys that the query sees.
    """

    strength: Tensor | float
    target: Literal["identity", "uniform"] = "identity"
    at: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.at is None) != (self.target == "uniform"):
            raise ValueError("the identity needs `at`, the key index of each query; the uniform row has none")

    @property
    def whole_rows(self) -> bool:
        return self.target == "identity"

    @property
    def acting(self) -> Tensor:
        acting = super().acting
        if isinstance(self.strength, Tensor):
            acting = acting.to(self.strength.device) & (self.strength != 0)
        elif self.strength == 0:
            acting = torch.zeros_like(acting)
        return acting if self.at is None else acting.to(self.at.device) & (self.at >= 0)[:, None]

    def select(self, heads: Tensor | None, queries: slice, of: int) -> Self:
        return replace(
            super().select(heads, queries, of),
            strength=cut(self.strength, heads, queries) if isinstance(self.strength, Tensor) else self.strength,
            at=None if self.at is None else self.at[:, queries],
        )

    def on_weights(self, weights: Tensor, block: Block) -> Tensor:
        if self.at is not None:
            cols = torch.arange(*block.cols, device=weights.device)
            target = (self.at[:, None, slice(*block.rows), None] == cols).to(weights.dtype)
        else:
            assert block.seen is not None
            target = block.seen / block.seen.sum(-1, keepdim=True).clamp_min(1).to(weights.dtype)
        new = weights + self._strength(block, weights) * (target - weights)
        return self.keep(torch.where((weights != 0).any(-1, keepdim=True), new, weights), weights, block)

    def on_extra(self, extra: Tensor, weights: Tensor, block: Block) -> Tensor:
        new = extra * (1 - self._strength(block, weights))
        return self.keep(torch.where((weights != 0).any(-1, keepdim=True), new, extra), extra, block)

    def _strength(self, block: Block, like: Tensor) -> Tensor | float:
        if not isinstance(self.strength, Tensor):
            return self.strength
        return cut(self.strength, None, slice(*block.rows))[..., None].to(like.dtype)


@dataclass(frozen=True, eq=False)
class Rewrite(WeightEffect):
    """Put the weights through any function, `fn(weights, block) -> weights`, both [batch, head, row, key], block by block.

    Rows come whole, and a row that sees no key stays empty.
    """

    fn: OfBlock

    @property
    def whole_rows(self) -> bool:
        return True

    def select(self, heads: Tensor | None, queries: slice, of: int) -> Self:
        return replace(super().select(heads, queries, of), fn=shifted(self.fn, heads, queries.start or 0))

    def on_weights(self, weights: Tensor, block: Block) -> Tensor:
        assert block.seen is not None
        new = torch.where(block.seen.any(-1, keepdim=True), self.fn(weights, block), weights)
        return self.keep(new, weights, block)
