"""Models of images and text."""

from typing import Any

import torch
from torch import nn

from .case import Case, noise, tokens
from .decoders import GROUPED, SMALL

TOWER: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 16,
    "patch_size": 4,
}  # fmt: skip
IMAGE = 60
"""The id of the image placeholder."""


def _clip() -> nn.Module:
    from transformers import CLIPConfig, CLIPModel

    text = {**SMALL, "max_position_embeddings": 16, "eos_token_id": 2}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=TOWER, projection_dim=16))


def _llava() -> nn.Module:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    return LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(**TOWER),
            text_config=LlamaConfig(**GROUPED),
            image_token_id=IMAGE,
            vision_feature_layer=-1,
        )
    )


def _qwen2_5_vl() -> nn.Module:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    vision = {
        "depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4, "patch_size": 4, "window_size": 16,
        "spatial_merge_size": 2, "out_hidden_size": 32, "fullatt_block_indexes": [1], "temporal_patch_size": 1,
    }  # fmt: skip
    text = {**GROUPED, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}}
    ids = {"image_token_id": IMAGE, "video_token_id": 61, "vision_start_token_id": 62, "vision_end_token_id": 63}
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids))


def _image_and_text(patches: int) -> dict[str, Any]:
    ids = torch.randint(3, 59, (2, patches + 5), generator=torch.Generator().manual_seed(1))
    ids[:, 2 : 2 + patches] = IMAGE
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _windows() -> dict[str, Any]:
    """One image of 8 x 6 patches per example, which windows of 4 x 4 do not divide."""
    grid = torch.tensor([[1, 8, 6], [1, 8, 6]])
    kinds = _image_and_text(12)
    return {
        **kinds,
        "pixel_values": noise(2 * 48, 3 * 4 * 4),
        "image_grid_thw": grid,
        "mm_token_type_ids": (kinds["input_ids"] == IMAGE).int(),
    }


SEES = {("main", "self"): 2, ("vision", "self"): 2}
CLIP = Case(
    "clip",
    _clip,
    lambda: {**tokens(left=False), "pixel_values": noise(3, 3, 16, 16)},
    SEES,
    projections=("out_proj",),
)
LLAVA = Case(
    "llava",
    _llava,
    lambda: {**_image_and_text(16), "pixel_values": noise(2, 3, 16, 16)},
    SEES,
    projections=("o_proj", "out_proj"),
)
QWEN2_5_VL = Case("qwen2_5_vl", _qwen2_5_vl, _windows, SEES, projections=("o_proj", "proj"))
MULTIMODAL = [CLIP, LLAVA, QWEN2_5_VL]
