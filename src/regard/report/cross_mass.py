"""Where the cross-attention of an example goes by classes of the source's tokens, while the model reads and while it writes."""

from dataclasses import replace
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
    found = SourceMass(
        text=number,
        read=_by_class(read, classes),
        flatness=float(flatness(read, classes >= 0)),
        content_flatness=_content(read, classes, lambda row: flatness(row, classes == 0)),
    )
    written = _written(lens, x, real)
    if isinstance(written, str):
        return replace(found, silent=written)
    return replace(
        found,
        written=_by_class(written, classes),
        agreement=float(agreement(read, written)),
        content_agreement=_content(read, classes, lambda row: agreement(row, content_only(written, classes))),
    )


def _written(lens: Lens, x: Inputs, real: Tensor) -> Tensor | str:
    """The mean distribution over the source while the model writes, [1, source], or why there is none."""
    model: Any = lens.model
    if not getattr(model, "can_generate", bool)():
        return "it has no language modelling head"
    try:
        maps = generated(lens, x, max_new_tokens=WRITTEN, min_new_tokens=1)
    except Exception as error:  # whatever a model's own generation raises, its scan is good without
        return " ".join(str(error).split()) or type(error).__name__
    return mean_distribution(maps.weights, maps.steps)[:, real]


def _by_class(distribution: Tensor, classes: Tensor) -> dict[str, float]:
    return dict(zip(CLASSES, class_mass(distribution, classes, len(CLASSES))[0].tolist(), strict=True))


def _content(distribution: Tensor, classes: Tensor, of: Any) -> float | None:
    """A number of what is left on content alone; None where that is nothing."""
    value = float(of(content_only(distribution, classes)))
    return None if torch.tensor(value).isnan() else value
