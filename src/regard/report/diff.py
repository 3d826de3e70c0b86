"""What differs between two scans: two models, two checkpoints, or one model with and without edits."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .data import Array, Part, Scan, to_array
from .intervals import FEWEST, t_quantile

SCHEMA = "regard.diff/1"


@dataclass(frozen=True)
class Change:
    """One head's value of a statistic in both scans, and a 95 % interval of the difference (None for few texts)."""

    layer: int
    head: int
    before: float
    after: float
    interval: tuple[float, float] | None

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Compared:
    """One statistic of a part of both scans: `difference` [layer, head], and heads by the size of their change."""

    statistic: str
    before: Array
    after: Array
    changes: list[Change]

    @property
    def difference(self) -> Array:
        """After minus before, [layer, head]."""
        return self.after - self.before


def shared_parts(before: Scan, after: Scan) -> list[tuple[Part, Part]]:
    """Return the parts that both scans have, with as many layers and heads."""
    return [
        (part, other)
        for part in before.parts
        for other in after.parts
        if (part.name, part.role) == (other.name, other.role) and _shape(part) == _shape(other)
    ]


def compare(before: Part, after: Part, statistic: str) -> Compared:
    """Compare a statistic head by head.

    The interval takes texts as independent between the scans. Where they are the same texts it is wider than it need be, so a
    change that it calls clear is clear.
    """
    first, second = before.statistics[statistic], after.statistics[statistic]
    means = to_array(first.mean), to_array(second.mean)
    stds = to_array(first.std), to_array(second.std)
    texts = first.texts, second.texts
    changes = [
        Change(
            before.rows[row].layer,
            head,
            float(means[0][row, head]),
            float(means[1][row, head]),
            _interval(
                (float(means[0][row, head]), float(means[1][row, head])),
                (float(stds[0][row, head]), float(stds[1][row, head])),
                texts,
            ),
        )
        for row, head in np.argwhere(np.isfinite(means[0]) & np.isfinite(means[1])).tolist()
    ]
    return Compared(statistic, *means, sorted(changes, key=lambda change: -abs(change.difference)))


def to_json(before: Scan, after: Scan, names: tuple[str, str]) -> dict[str, Any]:
    """Both scans as JSON values, with what stands for them."""
    return {"schema": SCHEMA, "names": list(names), "before": before.to_json(), "after": after.to_json()}


def _interval(
    means: tuple[float, float], stds: tuple[float, float], texts: tuple[int, int]
) -> tuple[float, float] | None:
    """Return Welch's 95 % interval of a difference of means."""
    if min(texts) < FEWEST or not all(map(math.isfinite, stds)):
        return None
    parts = [std**2 / n for std, n in zip(stds, texts, strict=True)]
    total = sum(parts)
    if total == 0:
        return means[1] - means[0], means[1] - means[0]
    freedom = total**2 / sum(part**2 / (n - 1) for part, n in zip(parts, texts, strict=True))
    half = t_quantile(max(7, int(freedom))) * math.sqrt(total)
    return means[1] - means[0] - half, means[1] - means[0] + half


def _shape(part: Part) -> list[tuple[int, int]]:
    return [(row.layer, row.heads) for row in part.rows]
