"""Images as a page shows them: what the model sees of them, small, and which token stands for which patch."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..segments import Grid
from ..segments.image import grids

LARGEST = 384
"""Pixels on the long side."""


def opened(image: Any) -> Any:
    """Return an image as PIL has it; a string is a path or an address."""
    from PIL import Image
    from transformers.image_utils import load_image, to_numpy_array

    if isinstance(image, str | Image.Image):
        return load_image(image)
    array = to_numpy_array(image)
    return Image.fromarray(array if array.shape[-1] in (3, 4) else array.transpose(1, 2, 0))


def png(image: Any, grid: Grid | None) -> str:
    """Return the region of an image that its grid covers, or all of it, as a small PNG in base64."""
    shown = opened(image).convert("RGB")
    if grid is not None:
        shown = shown.crop(tuple(round(edge) for edge in grid.region))
    shown.thumbnail((LARGEST, LARGEST))
    out = io.BytesIO()
    shown.save(out, format="PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def seen(model: nn.Module, processor: Any, x: Mapping[str, Any], image: Any) -> Grid | None:
    """Return the grid of patches of the first image that an image encoder is given; None where it is not regular."""
    pixels: Tensor | None = x.get("pixel_values")
    if pixels is None:
        return None
    size = opened(image).size if image is not None else (1, 1)
    first: dict[str, Any] = {"pixel_values": pixels[:1] if pixels.ndim == 4 else pixels}
    if "image_grid_thw" in x:
        rows, columns = x["image_grid_thw"][0].tolist()[1:]
        return Grid(rows, columns, (0.0, 0.0, float(size[0]), float(size[1])))
    return grids(processor, getattr(model, "config", None), first, [size])[0]


def patches(model: nn.Module, x: Mapping[str, Any], grid: Grid, tokens: int) -> list[int] | None:
    """Return where, among the tokens of an image encoder, the patches of its first image stand, row by row.

    Other tokens come first: a class token, registers. Encoders that list patches by groups, and those that put the groups in
    windows, are followed. None where the numbers do not fit.
    """
    count = grid.rows * grid.columns
    if "image_grid_thw" not in x:
        return list(range(tokens - count, tokens)) if tokens >= count else None
    config: Any = getattr(model, "config", None)
    vision = getattr(config, "vision_config", config)
    merge = int(getattr(vision, "spatial_merge_size", 1))
    units = torch.arange(count // merge**2)
    if getattr(vision, "window_size", None) and getattr(vision, "fullatt_block_indexes", None) is not None:
        from transformers.vision_utils import get_vision_window_index

        units = get_vision_window_index(x["image_grid_thw"][:1].cpu(), merge, vision.window_size, vision.patch_size)[0]
    inside = torch.arange(merge**2)
    across = grid.columns // merge
    rows = (units // across * merge)[:, None] + inside // merge
    columns = (units % across * merge)[:, None] + inside % merge
    place = (rows * grid.columns + columns).flatten()
    return place.argsort().tolist() if len(place) == count else None
