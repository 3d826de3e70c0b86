"""The committed table of families, and the page that is made from it."""

import fcntl
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
ROWS = ROOT / "breadth" / "families.json"
PAGE = ROOT / "docs" / "families.md"
LIBRARIES = ("transformers", "diffusers", "timm")
VERDICTS = {
    "exact": "every check holds or does not apply",
    "partial": "attention is read and edited exactly, and a check of something else fails",
    "failed": "a check fails without which nothing holds, or no inputs are known",
    "refused": "regard says that it cannot follow this model, and why",
    "not built": "no small instance could be made here",
    "no attention": "there is none to measure",
}
Row = dict[str, Any]


def read() -> dict[tuple[str, str], Row]:
    """Return the rows that there are, by library and family."""
    if not ROWS.exists():
        return {}
    return {(row["library"], row["family"]): row for row in json.loads(ROWS.read_text(encoding="utf-8"))}


def write(rows: dict[tuple[str, str], Row]) -> None:
    """Write rows, sorted and one to a line, and the page that they make."""
    ordered = [rows[key] for key in sorted(rows, key=_place)]
    lines = [json.dumps(row, ensure_ascii=False) for row in ordered]
    _atomic(ROWS, "[\n" + ",\n".join(lines) + "\n]\n")
    _atomic(PAGE, page(ordered))


def add(row: Row) -> None:
    """Put a row into the table, in the place of the one that there is; several processes may do so at once."""
    with Path(__file__).open(encoding="utf-8") as lock:  # not the table, which writing replaces by another file
        fcntl.flock(lock, fcntl.LOCK_EX)
        write(read() | {(row["library"], row["family"]): row})


def page(rows: Iterable[Row]) -> str:
    """Return the page of a table."""
    rows = list(rows)
    parts = [
        "# Families that are covered",
        "Written by `python -m breadth`, which makes a small instance of every model family of three libraries, with random "
        "weights, and has the [doctor](doctor.md) examine it. So this is coverage of the plumbing: that attention is heard, "
        "read exactly, edited, and left as it was. It says nothing about what trained models do.",
        _counts(rows),
    ]
    for library in LIBRARIES:
        own = [row for row in rows if row["library"] == library]
        if own:
            parts += [f"## {library}", _made_with(own), _families(own), *_reasons(own)]
    return "\n\n".join(parts) + "\n"


def _place(key: tuple[str, str]) -> tuple[int, str]:
    return LIBRARIES.index(key[0]), key[1]


def _counts(rows: list[Row]) -> str:
    counts = Counter((row["verdict"], row["library"]) for row in rows)
    libraries = [library for library in LIBRARIES if any(row["library"] == library for row in rows)]
    lines = [f"| verdict | {' | '.join(libraries)} | what it says |", "|---" + "|---:" * len(libraries) + "|---|"]
    for verdict, says in VERDICTS.items():
        numbers = " | ".join(str(counts[verdict, library]) for library in libraries)
        lines.append(f"| {verdict} | {numbers} | {says} |")
    built = sum("class" in row for row in rows)
    exact = sum(row["verdict"] == "exact" for row in rows)
    alone = sum("of" in row for row in rows)
    read = exact + sum(row["verdict"] == "partial" for row in rows)
    lines += [
        "",
        f"{built} families were built. Of {exact} ({exact / max(built, 1):.1%}) every check holds, of {read} "
        f"({read / max(built, 1):.1%}) attention is read and edited exactly.",
    ]
    if alone:
        lines[-1] += (
            f" {alone} see or hear, too, and were examined on text alone, for want of inputs: the table says which."
        )
    return "\n".join(lines)


def _made_with(rows: list[Row]) -> str:
    versions = sorted({f"{package} {version}" for row in rows for package, version in row.get("versions", {}).items()})
    return f"Made with {', '.join(versions)}." if versions else ""


def _families(rows: list[Row]) -> str:
    lines = ["| family | class | attention | verdict | deviation |", "|---|---|---|---|---:|"]
    for row in rows:
        tiers = ", ".join(f"{count} by {tier}" for tier, count in row.get("tiers", {}).items())
        tiers += f", of {row['of']}" if "of" in row else ""
        deviation = row.get("deviation")
        shown = "" if deviation is None else f"{deviation:.0e}" if deviation else "0"
        note = " *" if row["verdict"] == "exact" and row.get("reason") else ""
        lines.append(f"| {row['family']} | {row.get('class', '')} | {tiers} | {row['verdict']}{note} | {shown} |")
    return "\n".join(lines)


def _reasons(rows: list[Row]) -> list[str]:
    """Return, for each verdict, why its families have it."""
    parts = []
    for verdict in VERDICTS:
        told = [row for row in rows if row["verdict"] == verdict and row.get("reason")]
        if told:
            title = "exact *: what the doctor finds wrong in the model itself" if verdict == "exact" else verdict
            parts.append(f"### {rows[0]['library']}, {title}")
            parts.append("\n".join(f"- `{row['family']}`: {_cell(row['reason'])}" for row in told))
    return parts


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _atomic(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
