"""A small model in which what papers found in large ones is planted, so that the probes have something to find."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

HEADS, WIDTH, LAYERS, LENGTH = 4, 32, 4, 64
DIMENSIONS = (5, 17)
SPOKEN = "<bos> Mary John Tom James Anna Paul When and went to the store, gave a drink"
WORDS = {word: place for place, word in enumerate(SPOKEN.split(" "))}
NAMES = [WORDS[name] for name in ("Mary", "John", "Tom", "James", "Anna", "Paul")]
STRONG = 60.0


def tokenizer(text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
    """One token per word; names that are not in the list are two."""
    return {"input_ids": [i for word in text.split() for i in ([WORDS[word]] if word in WORDS else [39, 38])]}


tokenizer.bos_token_id = 0  # type: ignore[attr-defined]


class Config(SimpleNamespace):
    """What the probes read of a configuration."""

    def get_text_config(self) -> "Config":
        return self


class Attention(nn.Module):
    """Attention with a bias per head that is made of the token ids."""

    def __init__(self, layer: int, planted: bool) -> None:
        super().__init__()
        self.layer_idx, self.planted, self.num_heads = layer, planted, HEADS
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        n = ids.shape[1]
        bias = torch.zeros(len(ids), HEADS, n, n)
        if self.planted:
            self._plant(bias, ids)
        bias = bias + torch.full((n, n), float("-inf")).triu(1)
        out = nn.functional.scaled_dot_product_attention(q * 0.1, k, v, attn_mask=bias)
        return self.out(out.transpose(1, 2).flatten(2))

    def _plant(self, bias: Tensor, ids: Tensor) -> None:
        n = ids.shape[1]
        if self.layer_idx == 0:
            bias[:, 0] += STRONG * torch.ones(n, n).tril(-1).triu(-1)  # the token before
            bias[:, 1] += STRONG * torch.ones(n, n).tril(-22).triu(-22)  # a fixed distance, which is no induction
        if self.layer_idx == 1:
            before = nn.functional.pad(ids[:, :-1], (1, 0), value=-1)
            bias[:, 0] += STRONG * (before[:, None] == ids[:, :, None])
            lonely = (ids[:, None] == ids[..., None]).sum(-1) == 1
            names = torch.isin(ids, torch.tensor(NAMES))
            bias[:, 1] += STRONG * (lonely & names)[:, None]
        if self.layer_idx == 2:
            varied = (ids != ids[:, :1]).any(1)
            bias[:, 3, :, 0] += STRONG * varied[:, None]  # a sink, but not on one repeated token


class Block(nn.Module):
    """A residual block."""

    def __init__(self, layer: int, planted: bool) -> None:
        super().__init__()
        self.attn = Attention(layer, planted)

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        return x + self.attn(x, ids)


class Planted(nn.Module):
    """The model; without `planted` it is as random as any."""

    def __init__(self, planted: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.config = Config(model_type="planted", vocab_size=40, num_hidden_layers=LAYERS, bos_token_id=0)
        self.planted = planted
        self.embed = nn.Embedding(40, WIDTH)
        self.layers = nn.ModuleList(Block(layer, planted) for layer in range(LAYERS))

    def forward(self, input_ids: Tensor) -> tuple[Any, ...]:
        x = self.embed(input_ids)
        if self.planted:
            x[:, 0, list(DIMENSIONS)] += 40.0
        for block in self.layers:
            x = block(x, input_ids)
        return (x,)
