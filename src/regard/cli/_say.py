"""What the command line says: results on stdout, everything else on stderr, plain where nobody watches."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text


def fail(reason: object) -> NoReturn:
    """Say in one line why the command failed, and end with exit code 1."""
    typer.echo(f"regard: {' '.join(str(reason).split())}", err=True)
    raise typer.Exit(1)


def say(text: str, style: str = "") -> None:
    """Print a paragraph on stdout, wrapped and coloured on a terminal, one line elsewhere."""
    console = Console(highlight=False)
    console.print(Text(text, style), soft_wrap=not console.is_terminal)


class Bar:
    """A progress bar of `total` things, told how many are done."""

    def __init__(self, progress: Progress, title: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=total)

    def __call__(self, done: int) -> None:
        self._progress.update(self._task, completed=done)


@contextmanager
def bar(title: str, total: int, quiet: bool) -> Iterator[Bar]:
    """Show a progress bar on stderr while at work, if somebody watches."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        yield Bar(progress, title, total)
