"""An examination and known answers as text."""

from collections.abc import Iterable
from io import StringIO
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from .finding import Examination
    from .known import Answer

STYLES = {"ok": "green", "failed": "bold red", "not applicable": "dim"}
WIDTH = 110


def findings(examination: "Examination") -> Table:
    """Return a table with a row per check."""
    rows = (
        (one.name, one.verdict, "" if one.deviation is None else _short(one.deviation), one.sentence)
        for one in examination.findings
    )
    return _table(("check", "verdict", "deviation", "what was found"), rows)


def answers(found: Iterable["Answer"]) -> Table:
    """Return a table with a row per known answer."""
    rows = ((one.name, one.verdict, one.expected, f"{one.measured} ({one.source})") for one in found)
    return _table(("known", "verdict", "expected", "measured"), rows)


def head(examination: "Examination") -> str:
    """Return what was examined, in a line."""
    sites = ", ".join(f"{one.count} x {one.part} {one.role} by {one.tier}" for one in examination.sites)
    return f"{examination.model}, {examination.dtype}, {examination.device}; attention: {sites or 'none'}"


def text(examination: "Examination") -> str:
    """Return the whole examination as plain text."""
    written = Console(file=StringIO(), width=WIDTH, highlight=False)
    written.print(Text(head(examination)), findings(examination))
    for note in examination.notes:
        written.print(Text(f"note: {note}"))
    assert isinstance(written.file, StringIO)
    return "\n".join(line.rstrip() for line in written.file.getvalue().splitlines())


def _short(deviation: float) -> str:
    return "0" if deviation == 0 else f"{deviation:.1e}"


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    for title in titles[:-1]:
        table.add_column(title, no_wrap=title != "expected", justify="right" if title == "deviation" else "left")
    table.add_column(titles[-1])
    for row in rows:
        table.add_row(*(Text(cell, STYLES.get(cell, "")) for cell in row))
    return table
