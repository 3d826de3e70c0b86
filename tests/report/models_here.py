"""Small random models of each kind that can be scanned, with what belongs to them and something to measure."""

from typing import Any

import numpy as np
import torch
from lens.tokenizers_here import CHATML, byte_level, llava_processor
from torch import nn

TEXTS = ["the cat sat on the mat, and the dog ran to the station in Paris. " * 2, "the dog ran to the station."]
CHATS = [
    [
        {"role": "system", "content": "You are helpful"},
        {"role": "user", "content": "the cat sat on the mat " * 3},
        {"role": "assistant", "content": "the dog ran to Paris"},
    ],
    [{"role": "user", "content": "the station"}],
]
TOWER: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 16,
    "patch_size": 4,
}  # fmt: skip
TEXT: dict[str, Any] = {
    "vocab_size": 340, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128,
}  # fmt: skip


def pictures(count: int = 3) -> list[Any]:
    """Images of noise, wider than high."""
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (count, 20, 32, 3), dtype=np.uint8)
    return [Image.fromarray(one) for one in noise]


def sharp(make: Any, scale: float = 8.0) -> nn.Module:
    """A model whose weights are large enough that its attention is not flat."""
    torch.manual_seed(0)
    model: nn.Module = make().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)
    return model


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return sharp(lambda: LlamaForCausalLM(LlamaConfig(**TEXT, num_key_value_heads=2)), 20.0)


def t5() -> nn.Module:
    from transformers import T5Config, T5Model

    config = T5Config(
        vocab_size=340, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=2,
        relative_attention_num_buckets=8,
    )  # fmt: skip
    return sharp(lambda: T5Model(config), 1.5)


def vit() -> nn.Module:
    from transformers import ViTConfig, ViTModel

    return sharp(lambda: ViTModel(ViTConfig(**TOWER)))


def llava() -> nn.Module:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**TOWER), text_config=LlamaConfig(**TEXT), image_token_id=8,
        vision_feature_layer=-1,
    )  # fmt: skip
    return sharp(lambda: LlavaForConditionalGeneration(config), 4.0)


def vit_reader() -> Any:
    from transformers import ViTImageProcessorPil

    return ViTImageProcessorPil(size={"height": 16, "width": 16})


def kinds() -> dict[str, tuple[nn.Module, Any, dict[str, Any]]]:
    """Model, processor and what `scan` is given, by kind."""
    return {
        "decoder": (llama(), byte_level(), {"given": TEXTS}),
        "chat": (llama(), byte_level(CHATML, bos=False, padding_side="left"), {"given": CHATS}),
        "pair": (t5(), byte_level(), {"given": TEXTS}),
        "vision": (vit(), vit_reader(), {"images": pictures()}),
        "vlm": (llava(), llava_processor(), {"images": pictures()}),
    }
