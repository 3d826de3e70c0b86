"""Reading the [layer, head] tables of a part of a scan."""

import numpy as np

from . import words
from .data import Array, Part, to_array


def longest_run(flags: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]") -> list[int]:
    """The longest run of consecutive true places, the first one where several are as long."""
    best: list[int] = []
    run: list[int] = []
    for place, flag in enumerate(flags):
        run = [*run, place] if flag else []
        best = run if len(run) > len(best) else best
    return best


def table(part: Part, statistic: str) -> tuple[Array, Array]:
    """Mean and standard deviation of a statistic, [layer, head] each."""
    table = part.statistics[statistic]
    return to_array(table.mean), to_array(table.std)


def place(table: Array, flat: np.intp) -> tuple[int, int]:
    """Row and head of a flat index into a [layer, head] table."""
    row, head = np.unravel_index(flat, table.shape)
    return int(row), int(head)


def head_name(part: Part, place: tuple[int, int]) -> str:
    """A head in words."""
    return words.head(part.rows[place[0]].layer, place[1])


def depth(part: Part) -> int:
    """How many layers the part has, as far as its attention sites tell."""
    return max(row.layer for row in part.rows) + 1


def spread(values: Array) -> str:
    """Lowest to highest."""
    return words.between(float(values.min()), float(values.max()))
