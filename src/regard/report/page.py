"""A report: blocks added one after another, written as one self-contained page."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from . import words
from .data import Array, Finding, Text, to_array
from .files import write_atomic
from .tokens import pieces


@dataclass(frozen=True)
class Figure:
    """One figure of a page: its SVG (made here, trusted), a title and what it shows."""

    svg: str
    title: str
    caption: str


@dataclass
class Report:
    """A page in the making. `add_*` append blocks in reading order; `html` renders and `save` writes them.

    Everything that comes from a user is escaped; only figures are taken as they are.
    """

    title: str
    blocks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def add_header(self, facts: Sequence[tuple[str, str]], verdict: str, good: bool, summary: str) -> None:
        """The line of facts under the title (name and value), with the verdict on the measurement itself."""
        self._add("header", facts=facts, verdict=verdict, good=good, summary=summary)

    def add_heading(self, text: str, lead: str = "") -> None:
        """A section's heading, with a sentence on what it shows; backticks mark names."""
        self._add("heading", text=text, lead=lead)

    def add_findings(self, findings: Sequence[Finding], beside: Sequence[Figure] = ()) -> None:
        """Findings as numbered cards, with figures to their right where the page is wide enough."""
        self._add("findings", findings=findings, beside=beside)

    def add_figure(self, *figures: Figure) -> None:
        """Figures, side by side where the page is wide enough."""
        self._add("figures", figures=figures)

    def add_tokens(self, texts: Sequence[Text], layers: Sequence[str]) -> None:
        """Texts coloured by the attention that their tokens receive, with a choice of layer.

        The first token is left out of the colour scale, which each text has for itself at each layer.
        """
        shown, series = [], []
        for text in texts:
            received = to_array(text.received)
            rows = [received.mean(axis=0), *received]
            series.append([[_three(value) for value in row] for row in rows])
            coloured = list(zip(pieces(text.tokens), _strengths(rows[0]), strict=True))
            shown.append({"pieces": coloured, "cut": text.truncated})
        self._add("tokens", texts=shown, series=series, layers=layers)

    def add_table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A plain table of strings."""
        self._add("table", head=head, rows=rows)

    def add_notes(self, notes: Sequence[str]) -> None:
        """A list of remarks; backticks mark names."""
        self._add("notes", notes=notes)

    def html(self) -> str:
        """The whole page."""
        return _environment().get_template("page.html.j2").render(title=self.title, blocks=self.blocks)

    def save(self, path: Path) -> None:
        """Write the page, whole or not at all."""
        write_atomic(path, self.html())

    def _add(self, block: str, **values: Any) -> None:
        self.blocks.append((f"{block}.html.j2", values))


def prose(text: str) -> Markup:
    """The text escaped, with what stands between backticks set as code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(parts))


def _environment() -> Environment:
    """Templates that escape whatever is put into them."""
    environment = Environment(
        loader=PackageLoader(__package__ or "regard.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(prose=prose, trusted=Markup, scope=words.scope, short=words.short)
    return environment


def _strengths(received: Array) -> list[float]:
    """Colour strengths 0 to 1 of tokens [token]: shares of the strongest token but the first; 0 for NaN."""
    received = np.nan_to_num(received)
    top = received[1:].max(initial=1e-9)
    return [round(float(value), 3) for value in np.minimum(received / top, 1.0)]


def _three(value: float) -> float | None:
    """The value to three significant digits; None for NaN."""
    return None if value != value else float(f"{value:.3g}")
