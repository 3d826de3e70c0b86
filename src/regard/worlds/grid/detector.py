"""What is in a picture of the grid world, by a matched filter."""

from dataclasses import dataclass

import torch
from torch import Tensor

AXES = 4
SCALE = 1.5
PRESENT = 0.7
"""Score from which on a concept counts as drawn: a concept of the wrong sign gets 0.5 two rows beside its place."""


@dataclass(frozen=True, eq=False)
class Detection:
    """What was found of each concept, at its best place, whether or not it is `present`.

    `scores` [batch, concept], 1 for a perfect one. `corners` [batch, concept, 2]. `hues` [batch, concept], in radians.
    """

    scores: Tensor
    corners: Tensor
    hues: Tensor

    @property
    def present(self) -> Tensor:
        """Whether a concept counts as drawn, bool [batch, concept]."""
        return self.scores >= PRESENT


def templates() -> Tensor:
    """Return the codes of the eight concepts, [concept, axis, row, column]; the last four are the first ones upside down."""
    found = torch.zeros(2 * AXES, AXES, 3, 3)
    for axis in range(AXES):
        found[axis, axis, 0], found[axis, axis, 2] = 1.0, -1.0
    found[AXES:] = -found[:AXES]
    return found


def detect(pictures: Tensor) -> Detection:
    """Return what is in pictures [batch, channel, row, column], as they are before noise."""
    shown = pictures.float() / SCALE
    codes = templates().to(shown.device)
    scores = torch.nn.functional.conv2d(shown[:, :AXES], codes) / codes[0].square().sum()
    columns = scores.shape[-1]
    best, place = scores.flatten(2).max(-1)
    means = torch.nn.functional.avg_pool2d(shown[:, AXES:], 3, stride=1).flatten(2)
    x, y = (means[:, channel].gather(1, place) for channel in (0, 1))
    corners = torch.stack([place.div(columns, rounding_mode="floor"), place % columns], -1)
    return Detection(best, corners, torch.atan2(y, x))
