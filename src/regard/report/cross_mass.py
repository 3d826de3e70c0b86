"""Where the cross-attention of an example goes by classes of the source's tokens, while the model reads and while it writes."""

from typing import Any

import torch
from torch import Tensor

from ..lens import Lens
from ..lens.cross_maps import generated
from ..lens.inputs import Inputs
from ..measure.cross_sinks import agreement, class_mass, content_only, flatness, mean_distribution
from ..segments.source_classes import CLASSES, source_classes
from .data import SourceMass
from .feed import Feed

WRITTEN = 16
"""How many tokens are written by the model itself."""


def source_mass(lens: Lens, feed: Feed, x: Inputs, received: Tensor, number: int) -> SourceMass | None:
    """Return the masses of one example, whose source's tokens receive `received`, [layer, head, key]; None without words."""
    tokenizer: Any = getattr(lens.processor, "tokenizer", lens.processor)
    if tokenizer is None or feed.unit == "image" or "input_ids" not in x:
        return None
    real = x.valid[0].cpu()
    classes = source_classes(tokenizer, x["input_ids"].cpu()[:, real])
    if received.shape[2] != classes.shape[1]:
        return None
    read = received.double().nanmean((0, 1))[None].nan_to_num()
    written = _written(lens, x, real)
    return SourceMass(
        text=number,
        read=_by_class(read, classes),
        written=None if written is None else _by_class(written, classes),
        flatness=float(flatness(read, classes >= 0)),
        content_flatness=_content(read, classes, lambda row: flatness(row, classes == 0)),
        agreement=None if written is None else float(agreement(read, written)),
        content_agreement=None
        if written is None
        else _content(read, classes, lambda row: agreement(row, content_only(written, classes))),
    )


def _written(lens: Lens, x: Inputs, real: Tensor) -> Tensor | None:
    """The mean distribution over the source while the model writes, [1, source]; None for a model that does not write."""
    model: Any = lens.model
    if not getattr(model, "can_generate", bool)():
        return None
    try:
        maps = generated(lens, x, max_new_tokens=WRITTEN, min_new_tokens=1)
    except ValueError:  # it has no token to begin with
        return None
    return mean_distribution(maps.weights, maps.steps)[:, real]


def _by_class(distribution: Tensor, classes: Tensor) -> dict[str, float]:
    return dict(zip(CLASSES, class_mass(distribution, classes, len(CLASSES))[0].tolist(), strict=True))


def _content(distribution: Tensor, classes: Tensor, of: Any) -> float | None:
    """A number of what is left on content alone; None where that is nothing."""
    value = float(of(content_only(distribution, classes)))
    return None if torch.tensor(value).isnan() else value
