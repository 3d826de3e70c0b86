"""Effects: the closed vocabulary of what may be done to an attention, each with its meaning on full maps.

`on_scores`, `on_weights` and `on_output` are the definitions (and what the dense oracle runs); `regard.core.attention`
computes the same on outputs, without the map.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from .mask import Span
from .terms import Part

Stage = Literal["inputs", "scores", "weights", "outputs"]
STAGES: tuple[Stage, ...] = ("inputs", "scores", "weights", "outputs")


def cut(tensor: Tensor, heads: Tensor | None, queries: slice) -> Tensor:
    """Take some heads and queries of a tensor [batch or 1, head or 1, query or 1, ...], leaving broadcast axes alone."""
    if tensor.shape[2] > 1:
        tensor = tensor[:, :, queries]
    if heads is not None and tensor.shape[1] > 1:
        tensor = tensor[:, heads]
    return tensor


@dataclass(frozen=True, eq=False)
class Effect:
    """A change of one attention at one stage; `select` gives the same change for some of its heads and queries."""

    stage: ClassVar[Stage]

    def select(self, heads: Tensor | None, queries: slice) -> "Effect":
        """Return the effect restricted to some heads (indices; None for all) and a range of queries."""
        raise NotImplementedError

    def on_scores(self, scores: Tensor) -> Tensor:
        """Change scores [batch, head, query, key]."""
        return scores

    def on_weights(self, weights: Tensor) -> Tensor:
        """Change weights [batch, head, query, key]."""
        return weights

    def on_output(self, out: Tensor) -> Tensor:
        """Change outputs [batch, head, query, value_dim]."""
        return out


@dataclass(frozen=True, eq=False)
class Bias(Effect):
    """Add to the scores, before the softmax; -inf blocks.

    Shape: broadcastable to [batch, head, query, key] in all four axes. `log w` scales a key's weight by w before it is
    normalised.
    """

    bias: Tensor
    stage: ClassVar[Stage] = "scores"

    def select(self, heads: Tensor | None, queries: slice) -> "Bias":
        return Bias(cut(self.bias, heads, queries))

    def on_scores(self, scores: Tensor) -> Tensor:
        return scores + self.bias


@dataclass(frozen=True, eq=False)
class Mix(Effect):
    """Multiply the weights of whole key segments, after the softmax; keys of no segment keep theirs.

    `part` names the segments (the term that an edit asked first, so that its answer is used again); `weights` is [batch
    or 1, head or 1, query or 1, segment]. With `renormalise` every row is then scaled back to the mass it had before
    (1, or less where a sink logit takes some); a row that was emptied stays empty.
    """

    part: Part
    weights: Tensor
    renormalise: bool = False
    stage: ClassVar[Stage] = "weights"

    def select(self, heads: Tensor | None, queries: slice) -> "Mix":
        return Mix(self.part, cut(self.weights, heads, queries), self.renormalise)

    def narrow(self, cols: Span) -> "Mix":
        """Return the effect on a range of keys, outside which every weight is 0."""
        part = Part(self.part.labels[:, cols[0] : cols[1]], self.part.n)
        return Mix(part, self.weights, self.renormalise)

    def factors(self) -> Tensor:
        """Return the factor of each key before renormalising, [batch, head or 1, query or 1, key]."""
        weights = torch.cat([self.weights, torch.ones_like(self.weights[..., :1])], -1)  # label -1 picks this last one
        labels = self.part.labels.remainder(weights.shape[-1])
        batch = max(weights.shape[0], labels.shape[0])
        index = labels[:, None, None, :].expand(batch, *weights.shape[1:3], -1)
        return weights.expand(batch, -1, -1, -1).gather(-1, index)

    def on_weights(self, weights: Tensor) -> Tensor:
        mixed = weights * self.factors().to(weights.dtype)
        if not self.renormalise:
            return mixed
        mass = mixed.sum(-1, keepdim=True)
        return torch.where(mass != 0, mixed * (weights.sum(-1, keepdim=True) / mass), 0.0)


@dataclass(frozen=True, eq=False)
class Out(Effect):
    """Scale what heads put out, before they meet in the output projection: scale [batch or 1, head or 1, query or 1, 1]."""

    scale: Tensor
    stage: ClassVar[Stage] = "outputs"

    def select(self, heads: Tensor | None, queries: slice) -> "Out":
        return Out(cut(self.scale, heads, queries))

    def on_output(self, out: Tensor) -> Tensor:
        return out * self.scale.to(out.dtype)
