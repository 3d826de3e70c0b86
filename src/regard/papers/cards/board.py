"""Leaderboards: the methods of several papers on one task, beside its rivals and baselines, all tuned alike."""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Literal

import numpy as np

from ...bench.result import machine, versions
from ...report.files import write_atomic
from .card import FEWEST_SEEDS, Cost, Entry, Setting
from .find import cards
from .paired import Spread, spread
from .results import commit
from .run import PACKAGES
from .words import interval

ROOM = "regard.papers.boards"
SCHEMA = "regard.papers.board/1"
Split = Literal["tune", "test"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of one method: on which bench model, in which of its trials, from which seed, on which split."""

    bench: str
    entry: Entry
    trial: Mapping[str, Any]
    seed: int
    split: Split
    setting: Setting


@dataclass(frozen=True, kw_only=True)
class Task:
    """What methods are compared on. Raises ValueError if there is no base and no baseline to compare them with.

    Args:
        name: The board's name; its module's, with dashes.
        title: What is compared; the names of the bench models are put behind it.
        benches: The bench models.
        metrics: What is measured, and which way is better; methods are tuned and ranked by the first.
        trials: How many settings each method tries on the split "tune"; one that has nothing to tune has the one trial {}.
        tuning_seeds: How many of the seeds that is done on.
        entries: The base, the baselines, and the rivals that the field uses.
        score: Measures every metric in one run.
        cost: What it takes.
    """

    name: str
    title: str
    benches: tuple[str, ...]
    metrics: Mapping[str, Literal["higher", "lower"]]
    trials: int
    tuning_seeds: int = 1
    entries: tuple[Entry, ...]
    score: Callable[[Run], Mapping[str, float]]
    cost: Cost

    def __post_init__(self) -> None:
        roles = [entry.role for entry in self.entries]
        if roles.count("base") != 1 or "baseline" not in roles:
            raise ValueError(f"board {self.name}: it needs one base and at least one baseline, and has {roles}")


@dataclass(frozen=True)
class Scored:
    """One method on one bench model: the trial that it was tuned to, and every metric over seeds.

    `ahead` is the paired lead over the base, positive where the method is better; it is empty for the base itself.
    """

    bench: str
    name: str
    role: str
    trial: Mapping[str, Any]
    values: dict[str, tuple[float, ...]]
    spreads: dict[str, Spread]
    ahead: dict[str, Spread]


@dataclass(frozen=True)
class Board:
    """A task with every method scored, by bench model and then best first."""

    task: Task
    setting: Setting
    scored: list[Scored]
    started: str
    seconds: float

    @property
    def title(self) -> str:
        """The task's title with the names of the models that it was measured in."""
        return f"{self.task.title}, in {' and '.join(self.task.benches)}"


def tasks() -> list[Task]:
    """Return every board's task, sorted by name; raises ValueError for a module that declares none of its name."""
    found = []
    for name in sorted(module.name for module in iter_modules(import_module(ROOM).__path__)):
        task = getattr(import_module(f"{ROOM}.{name}"), "TASK", None)
        if not isinstance(task, Task) or task.name.replace("-", "_") != name:
            raise ValueError(f"{ROOM}.{name} declares no TASK of that name")
        found.append(task)
    return found


def named(name: str) -> Task:
    """Return a board's task; raises ValueError, with the names there are, for one that there is not."""
    found = {task.name: task for task in tasks()}
    if name not in found:
        raise ValueError(f"there is no board {name!r}; there are: {', '.join(found) or 'none yet'}")
    return found[name]


def entries(task: Task) -> list[Entry]:
    """Return the task's own entries and those of all cards; raises ValueError for unequal tuning or a name used twice."""
    joined = [*task.entries, *(entry for card in cards() for entry in card.entries if entry.board == task.name)]
    names = [entry.name for entry in joined]
    if len(set(names)) < len(names):
        raise ValueError(f"board {task.name}: a name is used twice, of {sorted(names)}")
    for entry in joined:
        if len(entry.trials) != task.trials and entry.trials != ({},):
            raise ValueError(
                f"board {task.name}: {entry.name} has {len(entry.trials)} trials, where every method has {task.trials}"
            )
    return joined


def run(task: Task, setting: Setting, progress: Callable[[int, int], None] | None = None) -> Board:
    """Tune and score every method; `progress` is told how many runs are done, and how many there are.

    Raises ValueError for fewer than 5 seeds, and for a run that lacks a metric or has one that is not finite.
    """
    if len(setting.seeds) < FEWEST_SEEDS:
        raise ValueError(f"{len(setting.seeds)} seeds decide nothing, {FEWEST_SEEDS} are the fewest")
    joined = entries(task)
    started, clock = datetime.now(UTC), time.perf_counter()
    counted = len(task.benches) * sum(
        len(setting.seeds) + (len(entry.trials) > 1) * len(entry.trials) * task.tuning_seeds for entry in joined
    )
    done = 0

    def score(bench: str, entry: Entry, trial: Mapping[str, Any], seed: int, split: Split) -> Mapping[str, float]:
        nonlocal done
        found = task.score(Run(bench=bench, entry=entry, trial=trial, seed=seed, split=split, setting=setting))
        for metric in task.metrics:
            if not math.isfinite(found.get(metric, math.nan)):
                raise ValueError(f"board {task.name}: {entry.name} has no finite {metric} in {bench}, seed {seed}")
        done += 1
        if progress is not None:
            progress(done, counted)
        return found

    def tuned(bench: str, entry: Entry) -> Mapping[str, Any]:
        if len(entry.trials) == 1:
            return entry.trials[0]
        first = next(iter(task.metrics))
        sign = _sign(task, first)
        seeds = setting.seeds[: task.tuning_seeds]
        means = [np.mean([score(bench, entry, trial, seed, "tune")[first] for seed in seeds]) for trial in entry.trials]
        return entry.trials[int(np.argmax(sign * np.array(means)))]

    scored: list[Scored] = []
    for bench in task.benches:
        chosen = [(entry, tuned(bench, entry)) for entry in joined]
        values = {
            entry.name: _columns(task, [score(bench, entry, trial, seed, "test") for seed in setting.seeds])
            for entry, trial in chosen
        }
        scored += sorted(_scored(task, bench, chosen, values), key=lambda one: _rank(task, one))
    return Board(task, setting, scored, started.isoformat(timespec="seconds"), time.perf_counter() - clock)


def place(task: Task, folder: Path) -> Path:
    """Return the file of a board."""
    return folder / "boards" / f"{task.name}.json"


def load(task: Task, folder: Path) -> Board:
    """Return the board that `save` wrote; raises OSError if there is none, ValueError if it is of another task or form."""
    path = place(task, folder)
    values = json.loads(path.read_text(encoding="utf-8"))
    if values.get("schema") != SCHEMA or values["task"] != task.name or values["metrics"] != dict(task.metrics):
        raise ValueError(f"{path} is no board of {task.name} as it is now: run it again")
    scored = [
        Scored(
            one["bench"],
            one["name"],
            one["role"],
            one["trial"],
            {metric: tuple(column) for metric, column in one["values"].items()},
            {metric: Spread(**found) for metric, found in one["spreads"].items()},
            {metric: Spread(**found) for metric, found in one["ahead"].items()},
        )
        for one in values["scored"]
    ]
    setting = Setting(**{**values["setting"], "seeds": tuple(values["setting"]["seeds"])})
    return Board(task, setting, scored, values["started"], values["seconds"])


def save(board: Board, folder: Path) -> Path:
    """Write a board as JSON into `boards` of a folder, or of its `quick` where it was a trial, and return the path."""
    path = place(board.task, folder / ("quick" if board.setting.quick else ""))
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {
        "schema": SCHEMA,
        "task": board.task.name,
        "title": board.title,
        "metrics": dict(board.task.metrics),
        "setting": asdict(board.setting),
        "scored": [asdict(one) for one in board.scored],
        "versions": versions(*PACKAGES),
        "machine": machine(board.setting.device),
        "started": board.started,
        "seconds": board.seconds,
        "commit": commit(),
    }
    write_atomic(path, json.dumps(values, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    return path


def markdown(board: Board) -> str:
    """Return a board as Markdown, a table for each bench model.

    Given are means with intervals, and the paired lead over the base, in which 0 means a tie.
    """
    metrics = board.task.metrics
    head = ["method", "role", "tuned to"]
    head += [f"{metric} ({better} is better)" for metric, better in metrics.items()]
    head += [f"ahead of the base in {metric}" for metric in metrics]
    lines = [f"## {board.task.name}", "", f"{board.title}."]
    for bench in board.task.benches:
        lines += ["", f"### {bench[0].upper()}{bench[1:]}", "", f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
        for one in board.scored:
            if one.bench == bench:
                tuned = ", ".join(f"{name} {value}" for name, value in one.trial.items()) or "nothing"
                cells = [one.name, one.role, tuned, *(interval(one.spreads[metric]) for metric in metrics)]
                lines.append(f"| {' | '.join([*cells, *(_lead(one.ahead.get(metric)) for metric in metrics)])} |")
    return "\n".join(lines) + "\n"


def _lead(lead: Spread | None) -> str:
    return "" if lead is None else f"{interval(lead)}, detectable {lead.detectable:.2g}"


def _columns(task: Task, runs: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, ...]]:
    return {metric: tuple(float(run[metric]) for run in runs) for metric in task.metrics}


def _scored(
    task: Task,
    bench: str,
    chosen: Sequence[tuple[Entry, Mapping[str, Any]]],
    values: Mapping[str, dict[str, tuple[float, ...]]],
) -> Iterator[Scored]:
    base = values[next(entry.name for entry, _ in chosen if entry.role == "base")]
    for entry, trial in chosen:
        mine = values[entry.name]
        spreads = {metric: spread(column) for metric, column in mine.items()}
        ahead = {}
        for metric, column in mine.items() if entry.role != "base" else ():
            sign = _sign(task, metric)
            ahead[metric] = spread([sign * (one - other) for one, other in zip(column, base[metric], strict=True)])
        yield Scored(bench, entry.name, entry.role, trial, mine, spreads, ahead)


def _sign(task: Task, metric: str) -> int:
    return 1 if task.metrics[metric] == "higher" else -1


def _rank(task: Task, scored: Scored) -> float:
    first = next(iter(task.metrics))
    return -_sign(task, first) * scored.spreads[first].mean
