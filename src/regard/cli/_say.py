"""What the command line says: results on stdout, everything else on stderr, plain where nobody watches."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

PERIOD = 600
"""Seconds that the speed is taken over: one layer of a large model can take a minute, and two have to be in it."""


def fail(reason: object) -> NoReturn:
    """Say in one line why the command failed, and end with exit code 1."""
    typer.echo(f"regard: {' '.join(str(reason).split())}", err=True)
    raise typer.Exit(1)


def say(text: str, style: str = "") -> None:
    """Print a paragraph on stdout, wrapped and coloured on a terminal, one line elsewhere."""
    console = Console(highlight=False)
    console.print(Text(text, style), soft_wrap=not console.is_terminal)


class Bar:
    """A progress bar, told how many things are done, and how many there are where that has changed."""

    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=total)

    def __call__(self, done: int, total: int | None = None) -> None:
        self._progress.update(self._task, completed=done, total=total)


@contextmanager
def bar(title: str, total: int, quiet: bool) -> Iterator[Bar]:
    """Show a progress bar on stderr while at work, if somebody watches."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with _progress(columns, quiet) as progress:
        yield Bar(progress, title, total)


@contextmanager
def waiting(title: str, quiet: bool) -> Iterator[None]:
    """Show a moving bar on stderr while at work that cannot tell how far it is, if somebody watches."""
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with _progress(columns, quiet) as progress:
        progress.add_task(title, total=None)
        yield


def _progress(columns: tuple[object, ...], quiet: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        *columns,  # type: ignore[arg-type]
        console=console,
        transient=True,
        speed_estimate_period=PERIOD,
        disable=quiet or not console.is_terminal,
    )
