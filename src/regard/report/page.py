"""A report: blocks added one after another, written as one self-contained page."""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup, escape

from . import words
from .data import Example, Finding
from .figures import Figure
from .files import write_atomic
from .head_tables import Heads
from .packing import pack
from .tokens import pieces

PACKAGE = "regard.report"
SCRIPTS = ("data", "draw", "save", "map", "areas", "dots", "table", "texts", "card", "tabs", "page")


@dataclass
class Shared:
    """What the blocks of a page draw on: heads by their key, examples, and the values of each block that draws."""

    heads: dict[str, Heads] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    blocks: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """All of it, for the page's script."""
        return {
            "heads": {key: heads.to_json() for key, heads in self.heads.items()},
            "examples": [_example(example) for example in self.examples],
            "blocks": self.blocks,
        }


@dataclass
class Report:
    """A page in the making. `add_*` append blocks in reading order; `html` renders and `save` writes them.

    Everything that comes from a user is escaped, in the page and in its data.
    """

    title: str
    blocks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    shared: Shared = field(default_factory=Shared)

    def add_alarm(self, title: str, sentences: Sequence[str]) -> None:
        """What nobody may miss, in a frame; backticks mark names."""
        self._add("alarm", title=title, sentences=sentences)

    def add_header(
        self, facts: Sequence[tuple[str, str]], verdicts: Sequence[tuple[str, bool]], summary: str, command: str
    ) -> None:
        """The line of facts under the title (name and value), verdicts, whether each is good, and the command to copy."""
        self._add("header", facts=facts, verdicts=verdicts, summary=summary, command=command)

    def add_heading(self, text: str, lead: str = "") -> None:
        """A section's heading, with a sentence on what it shows; backticks mark names."""
        self._add("heading", text=text, lead=lead)

    def add_findings(self, findings: Sequence[Finding], beside: Sequence[Figure] = (), empty: str = "") -> None:
        """Findings as numbered cards, figures to their right where the page is wide enough, or `empty` where none is."""
        self._add("findings", findings=findings, beside=[self._figure(figure) for figure in beside], empty=empty)

    def add_figures(self, *figures: Figure) -> None:
        """Figures, side by side where the page is wide enough."""
        self._add("figures", figures=[self._figure(figure) for figure in figures])

    def add_head_table(self, heads: Heads, names: Sequence[str]) -> None:
        """Every head with the measures of these names, to sort and to filter."""
        self._add("head_table", number=self._draws(heads, {"measures": list(names)}), heads=heads)

    def add_texts(self, heads: Heads, examples: Sequence[Example]) -> None:
        """Texts and images, coloured by what their tokens receive, by residual norms or by one head.

        The first token is left out of the colour scale, which each text has for itself at each layer.
        """
        places = [self._place(example) for example in examples]
        self._add("texts", number=self._draws(heads, {"examples": places}), heads=heads)

    def add_table(self, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A plain table of strings; backticks mark names, and `[#L3H2]` alone in a cell is a link to that head's card."""
        self._add("table", head=head, rows=rows)

    def add_notes(self, notes: Sequence[str]) -> None:
        """A list of remarks; backticks mark names."""
        self._add("notes", notes=notes)

    def add_tabs(self, titles: Mapping[str, str]) -> list["Report"]:
        """One tab for each key and title; returns what they hold, reports to be filled that share this page."""
        panels = [Report(title, shared=self.shared) for title in titles.values()]
        self._add("tabs", tabs=list(zip(titles, panels, strict=True)))
        return panels

    def html(self) -> str:
        """The whole page."""
        data = htmlsafe_json_dumps(self.shared.to_json(), dumps=_compact)
        return _environment().get_template("page.html.j2").render(title=self.title, blocks=self.blocks, data=data)

    def save(self, path: Path) -> None:
        """Write the page, whole or not at all."""
        write_atomic(path, self.html())

    def _add(self, block: str, **values: Any) -> None:
        self.blocks.append((f"{block}.html.j2", values))

    def _draws(self, heads: Heads, values: dict[str, Any]) -> int:
        """Keep what a block is drawn from and return its number; raises ValueError for other heads of the same key."""
        if self.shared.heads.setdefault(heads.key, heads) is not heads:
            raise ValueError(f"the page has other heads under the key {heads.key!r}; give each part its own key")
        self.shared.blocks.append({"heads": heads.key, **values})
        return len(self.shared.blocks) - 1

    def _figure(self, figure: Figure) -> tuple[Figure, int]:
        return figure, self._draws(figure.heads, figure.values)

    def _place(self, example: Example) -> int:
        """The place of an example on the page, which keeps each one once."""
        for place, known in enumerate(self.shared.examples):
            if known is example:
                return place
        self.shared.examples.append(example)
        return len(self.shared.examples) - 1


def prose(text: str) -> Markup:
    """The text escaped, with what stands between backticks set as code."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(parts))


def link(cell: str) -> Markup:
    """A cell as prose, or as a link where it is the address of a head in brackets."""
    found = re.fullmatch(r"\[(#(?:.+\.)?(L\d+H\d+))\]", cell)
    return Markup('<a href="{}">{}</a>').format(*found.groups()) if found else prose(cell)


_compact = functools.partial(json.dumps, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _environment() -> Environment:
    """Templates that escape whatever is put into them; style and script are taken as they are."""
    environment = Environment(
        loader=PackageLoader(PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(prose=prose, link=link, scope=words.scope, short=words.short)
    environment.globals.update(
        style=_source("style.css"), script=Markup("\n").join(_source(f"{n}.js") for n in SCRIPTS)
    )
    return environment


def _source(name: str) -> Markup:
    """A file of ours to set into the page."""
    return Markup(files(PACKAGE).joinpath("templates", name).read_text(encoding="utf-8"))


def _example(example: Example) -> dict[str, Any]:
    """What the page needs of an example."""
    return {
        "kind": example.kind,
        "title": example.title,
        "pieces": [[piece.text, int(piece.joined)] for piece in pieces(example.tokens)],
        "segments": example.segments,
        "truncated": example.truncated,
        "received": pack(np.array(example.received, dtype=np.int64)),
        "scale": [float(f"{value:.4g}") for value in example.scale],
        "norms": None if example.norms is None else pack(np.array(example.norms, dtype=np.int64)),
        "normScale": example.norm_scale and [float(f"{value:.4g}") for value in example.norm_scale],
        "image": example.image,
        "grid": example.grid,
        "patches": example.patches,
    }
