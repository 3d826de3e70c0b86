"""Small random instances of real model classes, each with inputs; eager twins give the library's own maps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Case:
    """A model class at a small size: how to make it, what to feed it."""

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, Any]]

    def build(self) -> nn.Module:
        """The model with weights of one seed, large enough that attention is not flat."""
        torch.manual_seed(0)
        model = self.make().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(4)
        return model


def tokens(batch: int = 3, length: int = 11, left: bool = True) -> dict[str, torch.Tensor]:
    """Token ids of which the second and third example are padded."""
    ids = torch.randint(3, 60, (batch, length), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(batch, length, dtype=torch.long)
    for row in range(1, batch):
        span = slice(0, 2 * row) if left else slice(length - 2 * row, length)
        mask[row, span] = 0
    return {"input_ids": ids, "attention_mask": mask}


def _llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=128,
        )
    )  # fmt: skip


def _gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=128))


def _bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    return BertModel(
        BertConfig(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48)
    )


def _vit() -> nn.Module:
    from transformers import ViTConfig, ViTModel

    return ViTModel(
        ViTConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            image_size=16,
            patch_size=4,
        )
    )


def _unet() -> nn.Module:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=24, norm_num_groups=4,
        attention_head_dim=2, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip


def _images() -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))}


def _noise() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(3)
    sample = torch.randn(2, 4, 8, 8, generator=generator)
    text = torch.randn(2, 5, 24, generator=generator)
    return {"sample": sample, "timestep": torch.tensor(10), "encoder_hidden_states": text}


LLAMA = Case("llama", _llama, tokens)
GPT2 = Case("gpt2", _gpt2, lambda: tokens(left=False))
BERT = Case("bert", _bert, lambda: tokens(left=False))
VIT = Case("vit", _vit, _images)
UNET = Case("unet", _unet, _noise)
TEXT = [LLAMA, GPT2, BERT]
TRANSFORMERS = [*TEXT, VIT]
ALL = [*TRANSFORMERS, UNET]
