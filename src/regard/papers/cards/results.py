"""Recorded results: a JSON file for every paper, whole or absent, from which the marks are judged again when it is read."""

import csv
import json
import math
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ...report.files import write_atomic
from .card import Card, Claim, Setting
from .evidence import Deviation, Figure, Measured
from .marks import Judged, judge

SCHEMA = "regard.papers.result/1"
FOLDER = Path("results")
QUICK = "quick"
"""Quick runs lie in a folder of their own: what they find is no result."""


@dataclass(frozen=True)
class Result:
    """One run of a check: rows, and all that is needed to make them again.

    `claims` are the card's as they were, `started` is in UTC, `seconds` how long it took, `commit` None outside a checkout; a "+"
    behind it says that files had been changed.
    """

    slug: str
    setting: Setting
    claims: list[dict[str, Any]]
    rows: list[Measured]
    deviations: list[Deviation]
    figures: list[Figure]
    versions: dict[str, str]
    machine: dict[str, Any]
    started: str
    seconds: float
    commit: str | None

    def answers(self, card: Card, setting: Setting) -> bool:
        """Whether it is a run of the card's claims as they are now, in this setting."""
        return self.claims == described(card) and self.setting == setting


@dataclass(frozen=True)
class Standing:
    """Where a card stands: its claims judged from all that is recorded, or `outdated` where that was for other claims."""

    card: Card
    judged: list[Judged]
    results: list[Result]
    outdated: bool

    @property
    def status(self) -> str:
        """One word or two."""
        if self.card.planned:
            return "planned"
        if self.outdated:
            return "outdated"
        return "checked" if self.results else "not checked"


def described(card: Card) -> list[dict[str, Any]]:
    """Return the claims of a card as JSON values."""
    return [_values(claim) for claim in card.claims]


def place(slug: str, setting: Setting, folder: Path) -> Path:
    """Return the file of a run; one on a user's model is named for it, too."""
    model = "" if setting.model is None else "." + re.sub(r"[^\w.-]+", "-", setting.model.strip("/"))
    return folder / (QUICK if setting.quick else "") / f"{slug}{model}.json"


def save(result: Result, card: Card, folder: Path) -> list[Path]:
    """Write a result and a CSV file for each figure, and return the paths, the JSON file first.

    The JSON file is written last, so that where it is, all of them are.
    """
    path = place(result.slug, result.setting, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = []
    for figure in result.figures:
        table = path.with_name(f"{path.stem}.{figure.name}.csv")
        write_atomic(table, _csv(figure))
        tables.append(table)
    write_atomic(path, json.dumps(_to_json(result, card), ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    return [path, *tables]


def load(path: Path) -> Result:
    """Read a result; raises ValueError in one sentence for a file that is none, OSError for one that cannot be read."""
    try:
        return _from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path} is no result of regard papers check ({reason}); delete it and check again") from error


def standing(card: Card, folder: Path) -> Standing:
    """Judge a card from what is recorded in a folder, quick runs left out; raises ValueError for a broken file."""
    results = [
        load(path) for path in sorted(folder.glob(f"{card.slug}.json")) + sorted(folder.glob(f"{card.slug}.*.json"))
    ]
    current = [result for result in results if result.claims == described(card)]
    return Standing(card, judged(card, current), current, outdated=len(current) < len(results))


def judged(card: Card, results: Sequence[Result]) -> list[Judged]:
    """Judge the claims of a card from results taken together."""
    rows = [row for result in results for row in result.rows]
    deviations = [one for result in results for one in result.deviations]
    return [judge(claim, rows, deviations) for claim in card.claims]


def commit() -> str | None:
    """Return the commit that this package is checked out from, with a "+" if files were changed since; None if it is not."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "results.py")
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _csv(figure: Figure) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows([figure.columns, *figure.rows])
    return text.getvalue()


def _to_json(result: Result, card: Card) -> dict[str, Any]:
    values = {
        "schema": SCHEMA,
        **{name: value for name, value in vars(result).items() if name not in ("rows", "deviations", "figures")},
        "marks": [_marks(one) for one in judged(card, [result])],
        "rows": [asdict(row) for row in result.rows],
        "deviations": [asdict(one) for one in result.deviations],
        "figures": [asdict(figure) for figure in result.figures],
    }
    values["setting"] = asdict(result.setting)
    plain: dict[str, Any] = _plain(values)
    return plain


def _marks(one: Judged) -> dict[str, Any]:
    """The marks of one claim, which are written for readers of the file and judged again when it is loaded."""
    return {
        "claim": one.claim.name,
        "equation": one.equation,
        "deviation": one.deviation,
        "mechanism": [asdict(seen) for seen in one.seen],
        "reproduction": one.reproduction,
        "own": one.own,
    }


def _from_json(values: Any) -> Result:
    if values["schema"] != SCHEMA:
        raise ValueError(f"its schema is {values['schema']!r}, not {SCHEMA!r}")
    setting = values["setting"] | {"seeds": tuple(values["setting"]["seeds"])}
    return Result(
        slug=values["slug"],
        setting=Setting(**setting),
        claims=values["claims"],
        rows=[_row(row) for row in values["rows"]],
        deviations=[Deviation(one["claim"], one["case"], _number(one["value"])) for one in values["deviations"]],
        figures=[Figure(**figure) for figure in values["figures"]],
        versions=values["versions"],
        machine=values["machine"],
        started=values["started"],
        seconds=values["seconds"],
        commit=values["commit"],
    )


def _row(row: Mapping[str, Any]) -> Measured:
    controls = {name: _number(value) for name, value in row["controls"].items()}
    return Measured(row["claim"], row["model"], row["seed"], _number(row["value"]), controls, row["data"])


def _number(value: float | None) -> float:
    """JSON has no NaN: a run without a finite value is null there."""
    return math.nan if value is None else float(value)


def _values(claim: Claim) -> dict[str, Any]:
    values: dict[str, Any] = _plain(asdict(claim))
    return values


def _plain(value: Any) -> Any:
    """The value with what JSON has no word for left out or set as it would be read back."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
