"""What a notebook and a prompt show of a measurement."""

import base64
import io
import math
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from .results import Measurement, Result

CELL = 12
"""Height and width of one head on the map, in pixels."""


def line(result: "Result") -> str:
    """Return one statistic in one line: its name and settings, its axes, its range."""
    told = ", ".join(f"{name}={value}" for name, value in result.settings.items())
    axes = ", ".join(f"{axis} {n}" for axis, n in zip(result.axes, result.shape, strict=True))
    return f"{result.name}{f' ({told})' if told else ''} [{axes}], {_range(result)}"


def lines(measurement: "Measurement") -> str:
    """Return a measurement as text, with its spot check."""
    return "\n".join([*(f"{line(one)}" for one in measurement.results.values()), _checked(measurement)])


def maps(measurement: "Measurement") -> str:
    """Return a measurement as HTML: a map [layer, head] per statistic, with its spot check."""
    rows = "".join(
        f"<tr><td style='text-align:left'>{escape(line(one))}</td><td>{_map(one)}</td></tr>"
        for one in measurement.results.values()
    )
    return (
        f"<table><tr><th style='text-align:left'>statistic</th><th>layers down, heads across</th></tr>{rows}</table>"
        f"<p>{escape(_checked(measurement))}</p>"
    )


def _checked(measurement: "Measurement") -> str:
    if math.isnan(measurement.deviation):
        return "no rows were recomputed to check it"
    return f"largest deviation from a dense float64 computation of some rows: {measurement.deviation:.1e}"


def _range(result: "Result") -> str:
    what, examples = _main(result)
    values = torch.cat([one.flatten().double() for one in examples])
    values = values[~values.isnan()]
    if not values.numel():
        return f"{what}: NaN throughout"
    return f"{what}: {values.min():.3g} to {values.max():.3g}, {values.mean():.3g} on average"


def _main(result: "Result") -> tuple[str, list[Tensor]]:
    """Return what stands for a statistic, in words and numbers: its texts, its mean, or what it has in place of one."""
    if "mean" not in result.values and not result.kept:
        name, value = next(iter(result.values.items()))
        return name, value if isinstance(value, list) else [value]
    texts = f"{result.count} text{'' if result.count == 1 else 's'}"
    return (f"{texts} kept apart", result.examples) if result.kept else (f"mean over {texts}", [result.mean])


def _map(result: "Result") -> str:
    """Return an image [layer, head]; further axes, and texts that are kept apart, are averaged."""
    examples = _main(result)[1]
    flat = torch.stack([one.double().flatten(2).nanmean(-1) if one.ndim > 2 else one.double() for one in examples])
    values = flat.nanmean(0)
    if values.ndim != 2 or values.isnan().all():
        return ""
    from matplotlib.image import imsave

    png = io.BytesIO()
    imsave(png, np.ma.masked_invalid(values.numpy()), cmap="viridis", format="png")  # NaN becomes transparent
    layers, heads = values.shape
    return (
        f"<img alt='{escape(result.name, quote=True)} by layer and head' "
        f"style='image-rendering:pixelated;width:{heads * CELL}px;height:{layers * CELL}px;max-width:none' "
        f"src='data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}'>"
    )
