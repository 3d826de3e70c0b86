"""Figures as SVG to set into a page: transparent, in the page's text colour, the same for the same data."""

import io
import re
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .data import Array

INK = "#010203"  # stands for the page's text colour and is replaced by it
MOST_NUMBERS = 160  # cells in which the number is still readable
MOST_VECTOR = 4096  # cells drawn one by one; above, they become an image inside the figure
XLINK = "http://www.w3.org/1999/xlink"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "regard",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def heatmap(
    values: Array, layers: list[int], *, label: str, unit: str, top: float | None = None, digits: int = 2
) -> str:
    """An SVG of a [layer, head] table: layer 0 on top, colours from 0 to `top`, or to the largest value."""
    rows, heads = values.shape
    top = top if top is not None else max(float(np.nanmax(values)), 1e-9)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.4, min(6.4, 1.0 + max(2.0, 0.32 * rows))), layout="constrained")
        axes = figure.add_subplot()
        mesh = axes.pcolormesh(
            np.ma.masked_invalid(values),
            cmap="viridis",
            vmin=0,
            vmax=top,
            rasterized=values.size > MOST_VECTOR,
            edgecolors="face",
            linewidth=0.2,
        )
        axes.invert_yaxis()
        axes.set_frame_on(False)
        axes.tick_params(length=0)
        axes.set_xlabel("head")
        axes.set_ylabel("layer")
        _ticks(axes, heads, [f"{layer + 1} · L{layer}" for layer in layers])
        if values.size <= MOST_NUMBERS:
            _numbers(axes, values, top, digits)
        bar = figure.colorbar(mesh, ax=axes, label=unit, aspect=30, pad=0.02)
        bar.outline.set_visible(False)
        return _svg(figure, label)


def _ticks(axes: Axes, heads: int, rows: list[str]) -> None:
    """Name the heads and layers, leaving out names where there are many."""
    across, down = -(-heads // 12), -(-len(rows) // 24)
    axes.set_xticks(np.arange(0, heads, across) + 0.5, [f"H{head}" for head in range(0, heads, across)])
    axes.set_yticks(np.arange(0, len(rows), down) + 0.5, rows[::down])


def _numbers(axes: Axes, values: Array, top: float, digits: int) -> None:
    """Write each value into its cell, dark on light cells and light on dark ones."""
    for (row, head), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "#111111" if value > 0.6 * top else "#ffffff"
            text = f"{value:.{digits}f}"
            axes.text(head + 0.5, row + 0.5, text, ha="center", va="center", color=colour, fontsize=7.5)


def _svg(figure: Figure, label: str) -> str:
    """The figure as an `svg` element whose ids are its own and whose ink is the page's text colour."""
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None}, dpi=100)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>|font-family: [^;]+; ?", "", svg, flags=re.DOTALL)
    own = re.sub(r"\W+", "-", label)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{own}-\1"', svg)
    svg = re.sub(r'(url\(|xlink:href=")#', rf"\1#{own}-", svg)
    opening = f'<svg class="map" role="img" aria-label="{escape(label)}"'
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]+")[^>]*>', rf'{opening} \1 xmlns:xlink="{XLINK}">', svg, count=1)
    return svg.replace(INK, "currentColor")
