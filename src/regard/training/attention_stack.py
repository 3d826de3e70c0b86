"""Layers of attention and nothing else, with any mask and positions, and a small network behind the last token."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Seen = Literal["causal", "full", "prefix", "window"]
Positions = Literal["none", "decay", "rotary", "sinusoidal"]


@dataclass(frozen=True, kw_only=True)
class StackShape:
    """What a stack is made of: one head of `dim` a layer, a mask of which `reach` is the prefix or the window, and positions.

    "decay" adds `-slope * distance` to scores; "sinusoidal" is added to the input, once.
    """

    layers: int
    dim: int
    outputs: int
    mask: Seen = "causal"
    reach: int = 3
    positions: Positions = "none"
    residual: bool = False
    slope: float = -math.log(0.8)
    base: float = 10_000.0


class AttentionLayer(nn.Module):
    """One layer, `A X W` without biases or norms, plus X where there is a residual connection."""

    def __init__(self, shape: StackShape) -> None:
        super().__init__()
        self.shape = shape
        self.query, self.key, self.value = (nn.Linear(shape.dim, shape.dim, bias=False) for _ in range(3))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Attend, [batch, token, dim]; `mask` [query, key] bool or float."""
        q, k = self.query(hidden), self.key(hidden)
        if self.shape.positions == "rotary":
            q, k = _rotated(q, self.shape.base), _rotated(k, self.shape.base)
        out: Tensor = nn.functional.scaled_dot_product_attention(
            q[:, None], k[:, None], self.value(hidden)[:, None], attn_mask=mask
        )[:, 0]
        return hidden + out if self.shape.residual else out


class AttentionStack(nn.Module):
    """The self-attention network of arXiv 2502.01951, section 5: layers of attention, then three hidden ReLU layers.

    It takes vectors as `inputs_embeds` [batch, token, dim] and gives logits [batch, output] from the last token.
    """

    def __init__(self, shape: StackShape) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.ModuleList([AttentionLayer(shape) for _ in range(shape.layers)])
        hidden: list[nn.Module] = []
        for _ in range(3):
            hidden += [nn.Linear(shape.dim, shape.dim), nn.ReLU()]
        self.head = nn.Sequential(*hidden, nn.Linear(shape.dim, shape.outputs))

    def forward(self, inputs_embeds: Tensor, **given: Any) -> Tensor:
        """Return logits [batch, output]."""
        n = inputs_embeds.shape[1]
        mask = stack_mask(self.shape, n).to(inputs_embeds.device)
        if self.shape.positions == "decay":
            place = torch.arange(n, device=inputs_embeds.device)
            bias = -self.shape.slope * (place[:, None] - place).abs().to(inputs_embeds)
            mask = bias.masked_fill(~mask, float("-inf"))
        hidden = inputs_embeds
        if self.shape.positions == "sinusoidal":
            hidden = hidden + _sinusoids(n, self.shape.dim, self.shape.base).to(hidden)
        for layer in self.layers:
            hidden = layer(hidden, mask)
        logits: Tensor = self.head(hidden[:, -1])
        return logits


def stack_mask(shape: StackShape, n: int) -> Tensor:
    """Return which keys queries see, [query, key] bool."""
    causal = torch.ones(n, n, dtype=torch.bool).tril()
    match shape.mask:
        case "causal":
            return causal
        case "window":
            return causal.triu(1 - shape.reach)
        case "prefix":
            return causal | (torch.arange(n) < shape.reach)
    return torch.ones(n, n, dtype=torch.bool)


def _angles(n: int, dim: int, base: float) -> Tensor:
    """Return angles [token, dim / 2]."""
    rates: Tensor = base ** (-torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    return torch.arange(n, dtype=torch.float32)[:, None] * rates


def _rotated(x: Tensor, base: float) -> Tensor:
    angles = _angles(x.shape[-2], x.shape[-1], base).to(x.device)
    a, b = x.chunk(2, -1)
    return torch.cat([a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()], -1)


def _sinusoids(n: int, dim: int, base: float) -> Tensor:
    angles = _angles(n, dim, base)
    return torch.cat([angles.sin(), angles.cos()], -1)
