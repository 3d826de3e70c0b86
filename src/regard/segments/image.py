"""Images among tokens: where each one is, and which of its patches lie in a box of pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """A regular grid of patches, row by row, over a region (left, top, right, bottom) of the image in its own pixels."""

    rows: int
    columns: int
    region: tuple[float, float, float, float]

    def box(self, left: float, top: float, right: float, bottom: float) -> list[int]:
        """Return the patches that share pixels with a box; raises ValueError for a box that has none."""
        x0, y0, x1, y1 = self.region
        across = _touched(left, right, x0, x1, self.columns)
        down = _touched(top, bottom, y0, y1, self.rows)
        if not across or not down:
            raise ValueError(
                f"the box ({left:g}, {top:g}, {right:g}, {bottom:g}) covers no pixel that the model sees: "
                f"those are ({x0:g}, {y0:g}, {x1:g}, {y1:g}), as left, top, right, bottom"
            )
        return [row * self.columns + column for row in down for column in across]


@dataclass(frozen=True, eq=False)
class Picture:
    """One image: the places of its tokens in the example, and their grid where it is regular."""

    tokens: Tensor
    grid: Grid | None = None

    def box(self, left: float, top: float, right: float, bottom: float) -> Tensor:
        """Return the places of the tokens whose patches share pixels with a box."""
        if self.grid is None:
            raise ValueError(
                "boxes need the image's grid of patches, and it is not known: give the image to lens.encode; models that "
                "cut an image into tiles, or pool its patches, have no regular grid"
            )
        return self.tokens[self.grid.box(left, top, right, bottom)]


def find_pictures(ids: Tensor, image: int | None, grids: Sequence[Grid | None] = ()) -> list[Picture]:
    """Return the images of an example: its runs of image tokens, divided by their grids where those account for all tokens."""
    if image is None:
        return []
    places = (ids == image).nonzero().flatten()
    sizes = [grid.rows * grid.columns for grid in grids if grid is not None]
    if len(sizes) == len(grids) and sum(sizes) == len(places):
        return [Picture(run, grid) for run, grid in zip(places.split(sizes), grids, strict=True)] if sizes else []
    starts = (places.diff() > 1).nonzero().flatten() + 1
    runs = torch.tensor_split(places, starts) if len(places) else ()
    return [Picture(run) for run in runs]


def taken(pictures: Sequence[Picture], places: Tensor) -> list[Picture]:
    """Return the images among some of the tokens, with their places there; an image that is not whole has no grid."""
    found = []
    for picture in pictures:
        inside = torch.isin(places, picture.tokens).nonzero().flatten()
        if len(inside):
            found.append(Picture(inside, picture.grid if len(inside) == len(picture.tokens) else None))
    return found


def grids(processor: Any, config: Any, features: Any, sizes: Sequence[tuple[int, int]]) -> list[Grid | None]:
    """Return the grid of each image, None where it is not regular.

    `features` is what the processor made of the images, `sizes` their (width, height) in pixels.
    """
    reader = getattr(processor, "image_processor", processor)
    vision = getattr(config, "vision_config", config)
    thw = features.get("image_grid_thw")
    if thw is not None:
        merge: Any = getattr(reader, "merge_size", None) or getattr(vision, "spatial_merge_size", 1)
        return [
            Grid(int(rows) // merge, int(columns) // merge, (0.0, 0.0, float(width), float(height)))
            if frames == 1
            else None
            for (frames, rows, columns), (width, height) in zip(thw.tolist(), sizes, strict=True)
        ]
    pixels = features.get("pixel_values")
    patch = getattr(processor, "patch_size", None) or getattr(vision, "patch_size", None)
    if not torch.is_tensor(pixels) or pixels.ndim != 4 or len(pixels) != len(sizes) or not isinstance(patch, int):
        return [None] * len(sizes)
    rows, columns = pixels.shape[2] // patch, pixels.shape[3] // patch
    regions = [_region(reader, size) for size in sizes]
    return [Grid(rows, columns, region) if region is not None else None for region in regions]


def _region(reader: Any, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
    """Return what resizing and cropping leave of an image, in its own pixels; None where it is not a plain rectangle."""
    width, height = size
    across = down = 1.0
    if getattr(reader, "do_pad", False):
        return None
    if getattr(reader, "do_resize", False):
        target = {name: n for name, n in dict(reader.size).items() if n is not None}
        if set(target) == {"shortest_edge"}:
            across = down = target["shortest_edge"] / min(width, height)
        elif set(target) == {"height", "width"}:
            across, down = target["width"] / width, target["height"] / height
        else:
            return None
    if not getattr(reader, "do_center_crop", False):
        return 0.0, 0.0, float(width), float(height)
    crop = dict(reader.crop_size)
    seen_x, seen_y = crop["width"] / across, crop["height"] / down
    left, top = (width - seen_x) / 2, (height - seen_y) / 2
    return left, top, left + seen_x, top + seen_y


def _touched(low: float, high: float, start: float, stop: float, n: int) -> range:
    """Return which of n equal cells from start to stop share more than a border with low to high."""
    cell = (stop - start) / n
    return range(max(0, math.floor((low - start) / cell)), min(n, math.ceil((high - start) / cell)))
