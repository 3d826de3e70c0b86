"""A model that is shown pairs of vectors and asked for the value of a key, with softmax, Hebbian or delta-rule attention."""

from typing import Literal

import torch
from torch import Tensor, nn

from ..design.memory import Memory

Reading = Literal["softmax", "hebb", "delta"]


class RecallModel(nn.Module):
    """Pre-norm layers of attention, with an MLP each or without, over pairs of vectors; no positions beside the causal mask.

    A token is a key, a value and a mark; the last one has a key only. Without an MLP there is no norm and no residual stream
    either: what comes out is what the attention reads. Keys of linear attention are scaled to unit length; eta of the delta
    rule is learnt.
    """

    def __init__(self, reading: Reading, dim: int, width: int, layers: int, mlp: bool) -> None:
        super().__init__()
        self.scale = dim**0.5  # coordinates of unit vectors are small, and nothing would be learnt for long
        self.embed = nn.Linear(2 * dim + 1, width)
        self.layers = nn.ModuleList(_Layer(reading, width, mlp) for _ in range(layers))
        self.out = nn.Linear(width, dim, bias=False)

    def forward(self, keys: Tensor, values: Tensor, probe: Tensor) -> Tensor:
        """Return the answer [batch, dim] to a probe [batch, dim] after pairs, keys and values [batch, pair, dim]."""
        return self.per_layer(keys, values, probe)[-1]

    def per_layer(self, keys: Tensor, values: Tensor, probe: Tensor) -> list[Tensor]:
        """Return what the output makes of the probe's token after each layer, [batch, dim] each."""
        asked = torch.cat([probe, torch.zeros_like(probe), torch.ones_like(probe[:, :1])], -1)
        shown = torch.cat([keys, values, torch.zeros_like(keys[..., :1])], -1)
        x = self.embed(self.scale * torch.cat([shown, asked[:, None]], 1))
        said = []
        for layer in self.layers:
            x = layer(x)
            said.append(self.out(x[:, -1]))
        return said


class _Layer(nn.Module):
    def __init__(self, reading: Reading, width: int, mlp: bool) -> None:
        super().__init__()
        self.reading = reading
        self.norm = nn.LayerNorm(width) if mlp else None
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        with torch.no_grad():  # like finds like from the start, which is otherwise learnt only after thousands of steps
            self.qkv.weight[:width] = self.qkv.weight[width : 2 * width]
        self.mix = nn.Linear(width, width, bias=False)
        if mlp:
            self.mlp = nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            )
        if reading == "delta":
            self.eta = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x if self.norm is None else self.norm(x)).chunk(3, -1)
        if self.reading == "softmax":
            read = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            unit = nn.functional.normalize(k, dim=-1)
            if self.reading == "delta":  # eta scales the values, too, which the output undoes
                read, _ = Memory("delta").scan(q, unit * self.eta.sigmoid().sqrt(), v)
            else:
                read, _ = Memory().scan(q, unit, v)
        mixed: Tensor = self.mix(read)
        if self.norm is None:
            return mixed
        x = x + mixed
        return x + self.mlp(x)
