"""What a scan found, as plain data: everything that the page and the JSON file hold.

Layers and heads are counted from 0 here, as in code; sentences count layers from 1.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SCHEMA = "regard.scan/1"
Array = NDArray[np.float64]
Reading = Literal["both", "back", "other"]
Table = list[list[float | None]]


@dataclass(frozen=True)
class Model:
    """The model as it was measured."""

    name: str
    revision: str | None
    architecture: str
    dtype: str
    device: str
    parameters: int


@dataclass(frozen=True)
class Row:
    """One attention site: a row of every [layer, head] table."""

    path: str
    layer: int
    role: str
    part: str
    heads: int
    tier: str


@dataclass(frozen=True)
class Text:
    """One text: its tokens as the tokenizer names them, how many were cut, and what each received.

    `received` is [layer, token], the mean over heads and over the queries that can see the token.
    """

    tokens: list[str]
    truncated: int
    received: Table


@dataclass(frozen=True)
class Statistic:
    """Mean and standard deviation of a statistic over texts, [layer, head]; None where a head is absent."""

    mean: Table
    std: Table
    texts: int


@dataclass(frozen=True)
class Finding:
    """One result in plain words; backticks mark names, `interval` is None below `intervals.FEWEST` texts."""

    key: str
    title: str
    sentence: str
    detail: str
    quantity: str
    number: float | None
    interval: tuple[float, float] | None
    texts: int
    rule: str
    meaning: str
    code: str


@dataclass(frozen=True)
class Scan:
    """A whole scan; `reading` is the way the model reads: both, back (causal) or other (windows and such)."""

    model: Model
    versions: dict[str, str]
    settings: dict[str, Any]
    reading: Reading
    rows: list[Row]
    special: list[str]
    texts: list[Text]
    statistics: dict[str, Statistic]
    findings: list[Finding]
    deviation: float
    seconds: float

    @property
    def tokens(self) -> int:
        """Tokens measured, over all texts."""
        return sum(len(text.tokens) for text in self.texts)

    @property
    def tolerance(self) -> float:
        """The worst deviation from a dense computation that the spot check lets pass at this precision."""
        return 1e-4 if self.model.dtype in {"float32", "float64"} else 2e-2

    @property
    def trusted(self) -> bool:
        """Whether the spot check passed."""
        return self.deviation <= self.tolerance

    def to_json(self) -> dict[str, Any]:
        """The scan as JSON values, with its schema."""
        deviation = None if math.isnan(self.deviation) else self.deviation
        return {"schema": SCHEMA} | asdict(self) | {"deviation": deviation}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Scan":
        """The scan that `to_json` wrote; raises ValueError for another schema."""
        if values.get("schema") != SCHEMA:
            raise ValueError(f"expected the schema {SCHEMA}, found {values.get('schema')!r}")
        return cls(
            model=Model(**values["model"]),
            versions=values["versions"],
            settings=values["settings"],
            reading=values["reading"],
            rows=[Row(**row) for row in values["rows"]],
            special=values["special"],
            texts=[Text(**text) for text in values["texts"]],
            statistics={name: Statistic(**table) for name, table in values["statistics"].items()},
            findings=[_finding(finding) for finding in values["findings"]],
            deviation=math.nan if values["deviation"] is None else values["deviation"],
            seconds=values["seconds"],
        )


def _finding(values: dict[str, Any]) -> Finding:
    """The finding of JSON values, whose interval is a list there."""
    interval = values["interval"]
    return Finding(**values | {"interval": None if interval is None else tuple(interval)})


def to_table(array: Array) -> Table:
    """Nested lists of a 2-d array, None for NaN."""
    return [[None if np.isnan(value) else float(value) for value in row] for row in array]


def to_array(table: Table) -> Array:
    """The 2-d array of nested lists, NaN for None."""
    return np.array([[np.nan if value is None else value for value in row] for row in table], dtype=np.float64)
