"""What is told of every head of one attention: the [layer, head] tables behind maps, tables and cards."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .data import Cards, Pair, Table
from .packing import pack


@dataclass(frozen=True)
class Measure:
    """One statistic of every head, [layer, head], with its words.

    `std` is the deviation over texts, `without` the statistic with the sinks taken out; None where there is none. Colours
    run from 0 to `top`, or to the largest value.
    """

    name: str
    title: str
    caption: str
    unit: str
    mean: Table
    std: Table | None = None
    without: Table | None = None
    top: float | None = None
    digits: int = 2

    def to_json(self) -> dict[str, Any]:
        """What the page needs of it, to four digits."""
        return {
            "name": self.name,
            "title": self.title,
            "caption": self.caption,
            "unit": self.unit,
            "mean": rounded(self.mean),
            "std": self.std and rounded(self.std),
            "without": self.without and rounded(self.without),
            "top": self.top,
            "digits": self.digits,
        }


@dataclass(frozen=True)
class Heads:
    """The heads of one attention; `key` stands before the head in an address (`#vision.L3H2`), empty where there is one.

    `layers` and `paths` name the rows of all tables, and `selection` is the code that follows `heads=[...]` in an edit.
    """

    key: str
    title: str
    layers: list[int]
    paths: list[str]
    measures: list[Measure]
    texts: int
    selection: str = ""
    pairs: tuple[Pair, ...] = ()
    cards: Cards | None = None

    def to_json(self) -> dict[str, Any]:
        """What the page needs of them."""
        return {
            "key": self.key,
            "title": self.title,
            "layers": self.layers,
            "paths": self.paths,
            "measures": [measure.to_json() for measure in self.measures],
            "texts": self.texts,
            "selection": self.selection,
            "pairs": [{"layer": p.layer, "a": p.a, "b": p.b, "similarity": round(p.similarity, 4)} for p in self.pairs],
            "cards": self.cards and _cards(self.cards),
        }


def rounded(table: Table) -> Table:
    """The table to four significant digits, which is more than a page shows."""
    return [[None if value is None else float(f"{value:.4g}") for value in row] for row in table]


def _cards(cards: Cards) -> dict[str, Any]:
    """Cards as packed blocks, [layer, head, query, rank] and [layer, head, bin]; what is missing is 0."""
    heads = max(len(row) for row in cards.keys)
    ranks = max((len(keys) for row in cards.keys for head in row for keys in head), default=0)
    bins = max((len(head) for row in cards.bins for head in row), default=0)
    shape = (len(cards.keys), heads, len(cards.queries), ranks)
    keys, weights = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
    received = np.zeros((len(cards.keys), heads, bins), dtype=np.int64)
    for layer, found in enumerate(cards.keys):
        for head, queries in enumerate(found):
            for query, ranked in enumerate(queries):
                keys[layer, head, query, : len(ranked)] = ranked
                weights[layer, head, query, : len(ranked)] = cards.weights[layer][head][query]
    for layer, row in enumerate(cards.bins):
        for head, values in enumerate(row):
            received[layer, head, : len(values)] = values
    return {
        "text": cards.text,
        "keyText": cards.key_text,
        "queries": cards.queries,
        "shape": shape,
        "keys": pack(keys),
        "weights": pack(weights),
        "bins": pack(received),
        "binCount": bins,
    }
