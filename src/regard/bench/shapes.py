"""Models of known shapes with random weights, and random tokens for them."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2Model

SHAPES: dict[str, dict[str, int]] = {
    "gpt2": {"n_layer": 12, "n_head": 12, "n_embd": 768},
    "small": {"n_layer": 4, "n_head": 8, "n_embd": 512},
}
"""GPT-2 small; and four layers of eight heads of 64."""


def build(shape: str, positions: int, dtype: torch.dtype, device: str, seed: int) -> nn.Module:
    """Return a GPT-2 of a shape, without a language-model head, that takes at least so many positions."""
    torch.manual_seed(seed)
    model: nn.Module = GPT2Model(GPT2Config(n_positions=max(1024, positions), **SHAPES[shape]))
    return model.eval().to(device, dtype)


def random_ids(model: nn.Module, batch: int, length: int, seed: int) -> dict[str, Tensor]:
    """Return random tokens, [batch, token]; raises ValueError for more than the model has positions."""
    config: Any = model.config
    limit = getattr(config, "max_position_embeddings", None)
    if isinstance(limit, int) and length > limit:
        raise ValueError(f"cannot time {length} tokens: the model takes {limit}")
    drawn = torch.randint(config.vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))
    return {"input_ids": drawn.to(next(model.parameters()).device)}
