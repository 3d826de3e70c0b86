"""What reinforced vision heads cost: CPU time of generating with them over that without, in one run.

    python benchmarks/vision_heads.py

The model is a LLaVA with random weights, of 12 layers of width 512; a prompt is 256 places of an image and 64 of text.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import regard
from regard.lens.vision_heads import default_layers, vision_heads

LAYERS, PLACES, IMAGE, ROUNDS, MORE = 12, 256, 999, 11, 32


def main() -> None:
    """Print the ratio for the first token, and for each that follows."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    vision = CLIPVisionConfig(
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=4,
        num_attention_heads=8,
        image_size=256,
        patch_size=16,
    )
    text = LlamaConfig(
        vocab_size=1000, hidden_size=512, intermediate_size=1376, num_hidden_layers=LAYERS, num_attention_heads=8
    )
    model: Any = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_id=IMAGE)
    )
    model.eval()
    ids = torch.randint(1, 900, (1, PLACES + 64))
    ids[:, 1 : 1 + PLACES] = IMAGE
    x = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": torch.randn(1, 3, 256, 256)}
    lens = regard.attach(model)

    def plain(tokens: int) -> None:
        model.generate(**x, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)

    def reinforced(tokens: int) -> None:
        with lens.edit(vision_heads(lens, x, layers=default_layers(LAYERS)).edit()):
            plain(tokens)

    first, all_ = (_seconds([plain, reinforced], tokens) for tokens in (1, 1 + MORE))
    print(f"first token: {first[1] / first[0]:.2f}")
    print(f"each later token: {(all_[1] - first[1]) / (all_[0] - first[0]):.2f}")


def _seconds(arms: list[Callable[[int], None]], tokens: int) -> list[float]:
    """Return the median CPU time of each arm; arms alternate, and the first round of each is left out."""
    kept: list[list[float]] = [[] for _ in arms]
    for _ in range(ROUNDS + 1):
        for arm, times in zip(arms, kept, strict=True):
            begun = time.process_time()
            arm(tokens)
            times.append(time.process_time() - begun)
    return [statistics.median(times[1:]) for times in kept]


if __name__ == "__main__":
    main()
