"""Pictures of the grid world as colours, for figures: a fixed linear code, so that nothing is lost."""

import torch
from torch import Tensor

_CELL = 4
_CONTRAST = 0.15


def to_rgb(pictures: Tensor) -> Tensor:
    """Return [batch, 3, 4 row, 4 column] of pictures [batch, channel, row, column]: hue as colour, each axis as a pattern.

    Clean pictures lie within 0 and 1; others may have to be clamped to be shown.
    """
    cells = torch.einsum("pc,bcrk->bprk", _basis().to(pictures), pictures)
    return 0.5 + _CONTRAST * torch.nn.functional.pixel_shuffle(cells, _CELL)


def from_rgb(images: Tensor) -> Tensor:
    """Return the pictures that `to_rgb` showed, exactly unless colours were clamped."""
    cells = torch.nn.functional.pixel_unshuffle((images - 0.5) / _CONTRAST, _CELL)
    basis = _basis().to(images)
    return torch.einsum("pc,bprk->bcrk", basis / basis.square().sum(0), cells)


def _basis() -> Tensor:
    """Orthogonal columns, [colour and pixel of a cell, channel]."""
    step = torch.tensor([1.0, 1.0, -1.0, -1.0])
    fine = torch.tensor([1.0, -1.0, 1.0, -1.0])
    flat = torch.ones(4)
    axes = [torch.outer(a, b) for a, b in ((step, flat), (flat, step), (step, step), (fine, fine))]
    grey = torch.ones(3)
    hues = torch.tensor([[1.0, -0.5, -0.5], [0.0, 0.75**0.5, -(0.75**0.5)]])
    columns = [torch.einsum("k,xy->kxy", grey, axis) for axis in axes]
    columns += [hue[:, None, None].expand(3, _CELL, _CELL) for hue in hues]
    return torch.stack([column.flatten() for column in columns], 1)
