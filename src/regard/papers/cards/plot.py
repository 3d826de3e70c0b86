"""Pictures of the gallery, as places to draw at: a claim's seeds beside its threshold, and the lines of a figure."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from .evidence import Figure
from .marks import Judged, Seen

WIDTH, HEIGHT, EDGE = 460, 180, 12


@dataclass(frozen=True)
class Dots:
    """The x of a dot for each seed, of the interval and of the threshold, and the numbers at the ends of the axis."""

    dots: tuple[float, ...]
    low: float
    mean: float
    high: float
    threshold: float
    start: str
    end: str
    width: int = WIDTH


@dataclass(frozen=True)
class Lines:
    """The points of a line for each column but the first, and the numbers at the ends of both axes."""

    lines: tuple[str, ...]
    start: str
    end: str
    bottom: str
    top: str
    width: int = WIDTH
    height: int = HEIGHT


def plot(judged: Judged, seen: Seen) -> Dots | None:
    """Place what was measured in one model, or None where no interval was judged."""
    if seen.spread is None:
        return None
    spread, limit = seen.spread, judged.claim.threshold
    values = [*seen.effects, spread.low, spread.high, limit]
    at = _axis(min(values), max(values), EDGE, WIDTH - EDGE)
    return Dots(
        dots=tuple(at(value) for value in seen.effects),
        low=at(spread.low),
        mean=at(spread.mean),
        high=at(spread.high),
        threshold=at(limit),
        start=f"{min(values):.3g}",
        end=f"{max(values):.3g}",
    )


def lines(figure: Figure) -> Lines | None:
    """Place the columns of a figure over its first one, or None where something is no finite number."""
    if len(figure.rows) < 2 or len(figure.columns) < 2:
        return None
    if not all(isinstance(cell, (int, float)) and math.isfinite(cell) for row in figure.rows for cell in row):
        return None
    table = [[float(cell) for cell in row] for row in figure.rows]
    start, end = min(row[0] for row in table), max(row[0] for row in table)
    bottom, top = min(min(row[1:]) for row in table), max(max(row[1:]) for row in table)
    across, up = _axis(start, end, EDGE, WIDTH - EDGE), _axis(bottom, top, HEIGHT - 16 - EDGE, EDGE)
    drawn = (
        " ".join(f"{across(row[0])},{up(row[column])}" for row in table) for column in range(1, len(figure.columns))
    )
    return Lines(tuple(drawn), f"{start:.4g}", f"{end:.4g}", f"{bottom:.3g}", f"{top:.3g}")


def _axis(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    room = (high - low) or 1.0
    return lambda value: round(start + (value - low) / room * (end - start), 1)
