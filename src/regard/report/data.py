"""What a scan found, as plain data: everything that the page and the JSON file hold.

Layers, heads and positions are counted from 0 here, as in code; sentences count layers from 1. Numbers that are only
drawn are quantised to 0..255; numbers that are told are not.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SCHEMA = "regard.scan/5"
SinkKind = Literal["primary", "secondary", "brief", "unmarked"]
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
    """One attention site: a row of every [layer, head] table of its part."""

    path: str
    layer: int
    role: str
    part: str
    heads: int
    tier: str


@dataclass(frozen=True)
class Statistic:
    """Mean and standard deviation of a statistic over texts, [layer, head]; None where a head is absent."""

    mean: Table
    std: Table
    texts: int


@dataclass(frozen=True)
class Areas:
    """Where attention goes: `shares` [layer, name] of all weight, a row adds up to 1; the names are disjoint sets of keys.

    The first that fits counts: first, other sinks, image, system, user, assistant, last 16, rest. In models with sink
    logits, what goes to no key is "sink logit".
    """

    names: list[str]
    shares: Table


@dataclass(frozen=True)
class Pair:
    """Two heads of one layer and how alike they are: cosine of their maps, each after subtracting even attention."""

    layer: int
    a: int
    b: int
    similarity: float


@dataclass(frozen=True)
class Cards:
    """Each head on one text; `text` is the example of the queries and `key_text` that of the keys (another in cross-attention).

    `keys` [layer, head, query, rank] are positions, `weights` the same of 0..255 (255 is a weight of 1), for the chosen
    positions `queries`. `bins` [layer, head, bin] is the attention received by equal runs of the keys, 0..255 of the head's
    largest but for the first run, which is cut there. Absent heads have empty lists.
    """

    text: int
    key_text: int
    queries: list[int]
    keys: list[list[list[list[int]]]]
    weights: list[list[list[list[int]]]]
    bins: list[list[list[int]]]


@dataclass(frozen=True)
class Part:
    """One attention of the model: `name`/`role` is main/self, vision/self, encoder/self, decoder/cross and so on.

    `title` names it in words, `lengths` counts the queries of each text. `statistics` are sink_mass, sink_rate, entropy,
    distance, max_weight, effective_keys, and entropy|no_sinks and distance|no_sinks, renormalised without the sink tokens.
    `pairs` are the heads most alike, strongest first. `spread` holds the coefficient of variation over texts of sink_mass
    and entropy, [layer, head] (from 8 texts on), and the mean similarity of a layer's heads, "similarity" [layer, 1].
    """

    name: str
    role: str
    title: str
    reading: Reading
    lengths: list[int]
    rows: list[Row]
    statistics: dict[str, Statistic]
    areas: Areas
    pairs: list[Pair]
    spread: dict[str, Table]
    cards: Cards | None


@dataclass(frozen=True)
class Example:
    """A text or image that is shown; `part` is the place of its part in the scan.

    `tokens` as the tokenizer names them, with the segment of each, `truncated` counts those that were cut. `received`
    [layer, token] is 0..255 of the layer's `scale`: the attention received, mean over heads and over the queries that can
    see the token. The scale is the largest of the layer but for the first token, which is cut at 255. `norms`, likewise with
    `norm_scale`, are norms of the residual stream behind the layer. `image` is a PNG in base64 and `grid` its patches, (rows,
    columns); with a grid, `patches` are the positions of the tokens that stand for the patches, row by row.
    """

    kind: Literal["text", "image"]
    part: int
    title: str
    tokens: list[str]
    segments: list[str]
    truncated: int
    received: list[list[int]]
    scale: list[float]
    norms: list[list[int]] | None
    norm_scale: list[float] | None
    image: str | None
    grid: tuple[int, int] | None
    patches: list[int] | None


@dataclass(frozen=True)
class Massive:
    """An activation of the residual stream far above the others of its layer, where it is strongest.

    `token` is its position in the example `text`, and `ratio` that of its magnitude to the median behind that layer.
    """

    layer: int
    token: int
    text: int
    dim: int
    value: float
    ratio: float


@dataclass(frozen=True)
class Sink:
    """A token that is a sink of the residual stream: the primary one is massive, others come to point where it does.

    `token` is its position in the example `text`. It is a sink behind `lifetime` layers from `start` on; a secondary one begins
    later than the primary one does. `norm` is that of its stream over the primary one's, behind the first of these layers, and
    `times` over the median of the text's. Where neither of the first two tokens is massive, the one that is given more is told
    of as unmarked: at the layer that gives it most, with the number of layers that give it more than 0.3.

    What shows it, None where it cannot be told: `mlp_along`, the cosine of what the feed-forward layer writes at `start` with the
    primary one's stream; and in the layer after, means over heads, the `weight` that it gets from the queries that see it, the
    norms of its key and value over the medians of the text, and the mean cosine of those queries with its key.
    """

    text: int
    token: int
    kind: SinkKind
    start: int
    lifetime: int
    norm: float
    times: float
    mlp_along: float | None
    weight: float | None
    key_norm: float | None
    value_norm: float | None
    query_key_cosine: float | None


@dataclass(frozen=True)
class SourceMass:
    """Where the cross-attention of the example `text` goes, by classes of the source's tokens (`segments.source_classes`).

    `read` are shares while the decoder reads what it is given, `written` those while it writes by itself (greedy, 16 tokens),
    None where it does not, for the reason `silent`. `flatness` is the cosine of the mean distribution with an even one,
    `agreement` that of both distributions; with `content_`, of what they have on content alone. None where there is nothing to
    compare. Source: arXiv 2605.01229.
    """

    text: int
    read: dict[str, float]
    flatness: float
    content_flatness: float | None
    written: dict[str, float] | None = None
    agreement: float | None = None
    content_agreement: float | None = None
    silent: str | None = None


@dataclass(frozen=True)
class Finding:
    """One result in plain words; backticks mark names, `interval` is None below `intervals.FEWEST` texts."""

    key: str
    part: int
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
class Check:
    """What a check of the doctor found, in a sentence; `deviation` is None where nothing was compared, or it is infinite."""

    name: str
    verdict: Literal["ok", "failed", "not applicable"]
    deviation: float | None
    sentence: str


@dataclass(frozen=True)
class Scan:
    """A whole scan; the first part is the one that writes the output.

    `unit` is what was measured one by one, "text", "conversation" or "image"; `truncated` counts those that were cut.
    `checks` is empty where the doctor was left out. `deviation` is the spot check's worst.
    `peak_bytes` is the most memory that the process, or on a GPU its tensors, took.
    """

    model: Model
    versions: dict[str, str]
    settings: dict[str, Any]
    command: str
    unit: str
    truncated: int
    parts: list[Part]
    examples: list[Example]
    massive: list[Massive]
    sinks: list[Sink]
    sources: list[SourceMass]
    special: list[str]
    findings: list[Finding]
    checks: list[Check]
    deviation: float
    notes: list[str]
    seconds: float
    peak_bytes: int
    redacted: bool

    @property
    def texts(self) -> int:
        """How many texts were measured."""
        return len(self.parts[0].lengths)

    @property
    def tokens(self) -> int:
        """Tokens measured, over all texts, in the first part."""
        return sum(self.parts[0].lengths)

    @property
    def tolerance(self) -> float:
        """The worst deviation from a dense computation that the spot check lets pass at this precision."""
        return 1e-4 if self.model.dtype in {"float32", "float64"} else 2e-2

    @property
    def exact(self) -> bool:
        """Whether the spot check passed."""
        return self.deviation <= self.tolerance

    @property
    def failed(self) -> list[Check]:
        """The checks of the doctor that failed."""
        return [check for check in self.checks if check.verdict == "failed"]

    @property
    def trusted(self) -> bool:
        """Whether the spot check passed and no check of the doctor failed."""
        return self.exact and not self.failed

    def to_json(self) -> dict[str, Any]:
        """The scan as JSON values, with its schema."""
        deviation = None if math.isnan(self.deviation) else self.deviation
        return {"schema": SCHEMA} | asdict(self) | {"deviation": deviation}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Scan":
        """The scan that `to_json` wrote; raises ValueError for another schema."""
        if values.get("schema") != SCHEMA:
            raise ValueError(f"expected the schema {SCHEMA}, found {values.get('schema')!r}")
        plain = {name: value for name, value in values.items() if name != "schema"}
        return cls(
            **plain
            | {
                "model": Model(**values["model"]),
                "parts": [_part(part) for part in values["parts"]],
                "examples": [Example(**_tuple(example, "grid")) for example in values["examples"]],
                "massive": [Massive(**each) for each in values["massive"]],
                "sinks": [Sink(**each) for each in values["sinks"]],
                "sources": [SourceMass(**each) for each in values["sources"]],
                "findings": [Finding(**_tuple(finding, "interval")) for finding in values["findings"]],
                "checks": [Check(**check) for check in values["checks"]],
                "deviation": math.nan if values["deviation"] is None else values["deviation"],
            }
        )


def _part(values: dict[str, Any]) -> Part:
    return Part(
        **values
        | {
            "rows": [Row(**row) for row in values["rows"]],
            "statistics": {name: Statistic(**table) for name, table in values["statistics"].items()},
            "areas": Areas(**values["areas"]),
            "pairs": [Pair(**pair) for pair in values["pairs"]],
            "cards": None if values["cards"] is None else Cards(**values["cards"]),
        }
    )


def _tuple(values: dict[str, Any], name: str) -> dict[str, Any]:
    """The values with a list made the tuple that it was."""
    return values | {name: None if values[name] is None else tuple(values[name])}


def to_table(array: Array) -> Table:
    """Nested lists of a 2-d array, None for NaN."""
    return [[None if np.isnan(value) else float(value) for value in row] for row in array]


def to_array(table: Table) -> Array:
    """The 2-d array of nested lists, NaN for None."""
    return np.array([[np.nan if value is None else value for value in row] for row in table], dtype=np.float64)
