"""What families of images and videos are given, where the doctor makes no inputs."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from regard.doctor.made import image_size, noise, random_ids

Inputs = dict[str, Any]


def _ids(model: nn.Module, tokens: int = 8) -> Tensor:
    ids = random_ids(model, 2, tokens)
    assert ids is not None
    return ids


def _images(model: nn.Module, *size: int) -> Inputs:
    """Return two images, of the configuration's own size where none is given."""
    return {"pixel_values": noise(model, 2, 3, *(size or image_size(model.config) or (32, 32)))}


def _points(model: nn.Module) -> Inputs:
    """Return two images with two objects each, of which one point is given, and one that is not of it."""
    x = _images(model)
    height, width = x["pixel_values"].shape[-2:]
    draw = torch.Generator().manual_seed(2)
    return x | {
        "input_points": torch.rand(2, 2, 2, 2, generator=draw) * torch.tensor([width, height]),
        "input_labels": torch.tensor([1, 0]).expand(2, 2, 2),
    }


def _patches(model: Any) -> Inputs:
    """Return two images of six patches, each patch behind its row and its column."""
    places = torch.tensor([[row, column] for row in (1, 2) for column in (1, 2, 3)]).expand(2, -1, -1)
    pixels = noise(model, 2, 6, model.config.vision_config.patch_embed_hidden_size)
    return {"flattened_patches": torch.cat([places, pixels], -1), "decoder_input_ids": _ids(model)}


def _clip(model: Any) -> Inputs:
    """Return two texts and two videos."""
    frames = model.config.vision_config.num_frames
    return {"input_ids": _ids(model), "pixel_values": noise(model, 2, frames, 3, 32, 32)}


INPUTS: dict[str, Callable[[Any], Inputs]] = {
    **dict.fromkeys(["sam", "sam_hq", "sam2", "sam3_tracker"], _points),
    "align": lambda model: {"input_ids": _ids(model)} | _images(model, 64, 64),
    "pix2struct": _patches,
    "pp_formulanet": lambda model: _images(model) | {"decoder_input_ids": _ids(model)},
    "pp_ocrv5_mobile_rec": lambda model: _images(model, 96, 192),
    "x_clip": _clip,
}
"""What a family is given, made for its model."""
