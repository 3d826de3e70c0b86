"""What a paper declares: its facts, its claims as data, and how to check them."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal, get_args

from .evidence import Evidence

FEWEST_SEEDS = 5
"""All of 5 seeds on one side has a sign-test p of 0.031, all of 4 one of 0.0625."""

Family = Literal["design", "diffusion", "heads", "human", "sinks", "sparse", "vlm"]
Measure = Literal["value", "difference", "ratio"]


@dataclass(frozen=True, kw_only=True)
class Own:
    """How a user who has the paper's own model and data runs a claim on them, and the number that the paper says to expect.

    It is reproduced if the mean over seeds is within `within` of `expected`, which is None where the paper has no such number.
    """

    model: str
    data: str
    command: str
    expected: float | None
    within: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of a paper and what would have to be measured for it to hold.

    The effect of a run is its value, or its value minus or over that of the control `against`. Over seeds it has to lie `above`
    or `below` the threshold, and the value has to lie on that side of every other control, too. Raises ValueError for a
    claim that cannot be judged.

    Args:
        name: What rows call it.
        statement: What the paper says, in our words.
        reported: The paper's own number, with what it was measured on.
        metric: What is measured, with its unit.
        why: The reason for the threshold.
        measure: What is compared with the threshold.
        direction: On which side of the threshold the effect has to lie.
        threshold: In the unit of the metric, or a ratio.
        against: The control that the value is paired with; empty if `measure` is "value".
        controls: What each control is, by its name.
        bench: The bench model; empty for a claim that has an equation only.
        seeds: The fewest seeds that it is judged on.
        equation: What is exact, and against what; empty for a claim that has none.
        tolerance: The largest deviation that is exact.
        own: The paper's own model and data.
    """

    name: str
    statement: str
    reported: str
    metric: str
    why: str
    measure: Measure = "value"
    direction: Literal["above", "below"] = "above"
    threshold: float
    against: str = ""
    controls: Mapping[str, str] = field(default_factory=dict)
    bench: str = ""
    seeds: int = FEWEST_SEEDS
    equation: str = ""
    tolerance: float = 0.0
    own: Own | None = None

    def __post_init__(self) -> None:
        if self.seeds < FEWEST_SEEDS:
            raise ValueError(f"claim {self.name}: {self.seeds} seeds decide nothing, {FEWEST_SEEDS} are the fewest")
        if not math.isfinite(self.threshold):
            raise ValueError(f"claim {self.name}: a threshold of {self.threshold} decides nothing")
        if (self.measure == "value") != (not self.against):
            raise ValueError(f"claim {self.name}: a difference or a ratio is against a control, and a value is not")
        if self.against and self.against not in self.controls:
            raise ValueError(f"claim {self.name}: {self.against!r} is none of its controls {sorted(self.controls)}")
        if not (self.bench or self.equation):
            raise ValueError(f"claim {self.name}: it has neither a bench model nor an equation, so nothing can fail")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a check takes with the seeds it needs, on two CPU cores, and with `--quick`."""

    minutes: float
    quick_minutes: float
    memory_gb: float


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How a check is run: seeds, whether with fewer items and steps, where, and on which model and data of a user, if any."""

    seeds: tuple[int, ...]
    quick: bool = False
    device: str = "cpu"
    model: str | None = None
    data: str | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A method on a board: what the board's task takes as one, and the settings that it is tuned over."""

    board: str
    name: str
    role: Literal["base", "baseline", "rival", "method"] = "method"
    method: Any
    trials: tuple[Mapping[str, Any], ...] = ({},)


Check = Callable[[Setting], Iterable[Evidence]]


@dataclass(frozen=True, kw_only=True)
class Card:
    """A paper: facts, one plain sentence, claims, and the check that measures them. Without claims it is planned.

    Raises ValueError for a slug, a family or claims that cannot be.

    Args:
        slug: Its name here; the module's, with dashes.
        title: As published.
        family: What it is about.
        authors: How many; None where that is not established.
        date: When it appeared.
        arxiv: Its number there.
        sentence: What it does, in our words.
        methods: What of `regard` its method is made of, as names to import.
        real: How to use it on a real model.
        claims: What it is held to.
        check: Measures the claims, row by row; where the setting names a model, on that model only.
        cost: What that takes.
        entries: Its methods on boards.
    """

    slug: str
    title: str
    family: Family
    authors: int | None
    date: date
    arxiv: str
    sentence: str
    methods: tuple[str, ...] = ()
    real: str = ""
    claims: tuple[Claim, ...] = ()
    check: Check | None = None
    cost: Cost | None = None
    entries: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        if self.family not in get_args(Family):
            raise ValueError(f"{self.slug}: no family {self.family!r}; there are {', '.join(get_args(Family))}")
        if len({bool(self.claims), self.check is not None, self.cost is not None}) > 1:
            raise ValueError(f"{self.slug}: claims, a check and its cost come together")
        names = [claim.name for claim in self.claims]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.slug}: two claims have the same name, of {names}")

    @property
    def planned(self) -> bool:
        """Whether nothing can be checked yet."""
        return not self.claims

    @property
    def seeds(self) -> int:
        """How many seeds its claims need."""
        return max((claim.seeds for claim in self.claims), default=FEWEST_SEEDS)
