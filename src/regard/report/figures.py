"""Figures that the page draws by itself, so that they follow its width, its colours and its choices."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from .data import Areas
from .head_tables import Heads, rounded

Kind = Literal["map", "areas", "dots", "bars"]


@dataclass(frozen=True)
class Figure:
    """One figure over the layers of `heads`: a title, what it shows (backticks mark names), and what it is drawn from."""

    kind: Kind
    heads: Heads
    title: str
    caption: str
    values: dict[str, Any] = field(default_factory=dict)


def heatmap(heads: Heads, names: Sequence[str]) -> Figure:
    """The layer x head map of one of several measures, the first one first."""
    first = next(measure for measure in heads.measures if measure.name == names[0])
    return Figure("map", heads, first.title, first.caption, {"measures": list(names)})


def areas(heads: Heads, shares: Areas, title: str, caption: str) -> Figure:
    """Shares over depth that add up to 1, stacked."""
    return Figure("areas", heads, title, caption, {"names": shares.names, "shares": rounded(shares.shares)})


def dots(heads: Heads, names: Sequence[str], title: str) -> Figure:
    """Every head as a dot over depth, for one of several measures."""
    first = next(measure for measure in heads.measures if measure.name == names[0])
    return Figure("dots", heads, title, first.caption, {"measures": list(names)})


def bars(heads: Heads, values: Sequence[float | None], name: str, title: str, caption: str) -> Figure:
    """One number between 0 and 1 per layer."""
    return Figure("bars", heads, title, caption, {"name": name, "values": rounded([list(values)])[0]})
