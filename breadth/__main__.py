"""Examine families and write the table: `python -m breadth --library transformers --jobs 2`."""

import os
import warnings
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from . import table
from .family import Family


def main(
    library: Annotated[list[str] | None, typer.Option(help="Only this library; may be repeated.")] = None,
    family: Annotated[list[str] | None, typer.Option(help="Only these families, even if they have a row.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes at a time.")] = 2,
    failed: Annotated[bool, typer.Option("--failed", help="Families that are not exact, again.")] = False,
    again: Annotated[bool, typer.Option("--again", help="All families, those that have a row, too.")] = False,
    docs: Annotated[bool, typer.Option("--docs", help="Write the page from the table, and examine nothing.")] = False,
) -> None:
    """Examine the families that have no row yet, and write breadth/families.json and docs/families.md."""
    rows = table.read()
    if docs:
        table.write(rows)
        return
    wanted = []
    for one in library or table.LIBRARIES:
        for name in _families(one):
            row = rows.get((one, name))
            stale = row is None or again or (failed and row["verdict"] not in ("exact", "no attention"))
            if name in family if family else stale:
                wanted.append(Family(one, name))
    from .examine import in_processes

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("examining", total=len(wanted))
        for row in in_processes(wanted, jobs):
            bar.update(task, advance=1, description=row["family"][:24].ljust(24))
            if row["verdict"] != "exact":
                bar.console.print(f"{row['family']}: {row['verdict']}: {row.get('reason', '')}", highlight=False)
            elsewhere = "class" in rows.get((row["library"], row["family"]), {})
            if not (
                elsewhere and row.get("reason", "").startswith("ImportError")
            ):  # another environment has what it needs
                table.add(row)


def _families(library: str) -> list[str]:
    from .examine import library as module

    try:
        names: list[str] = module(library).families()
    except ImportError as error:
        typer.echo(f"{library} is left out: {error}", err=True)
        return []
    return names


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore")
    typer.run(main)
