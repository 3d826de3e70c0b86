"""The gallery: all cards on one page that needs no network, planned and negative ones as plainly as the rest."""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ...report.page import prose
from . import words
from .marks import Equation, Mechanism, Reproduction
from .plot import lines, plot
from .results import Standing

GOOD = (Equation.exact, Mechanism.seen, Reproduction.reproduced)
BAD = (Equation.not_exact, Mechanism.not_seen, Reproduction.not_reproduced)


def page(standings: Sequence[Standing]) -> str:
    """Render the page; everything that comes from cards and results is escaped."""
    return _environment().get_template("gallery.html.j2").render(standings=standings)


def tone(mark: str) -> str:
    """The class of a mark: nothing is hidden behind a colour, which only repeats the word."""
    return "good" if mark in GOOD else "bad" if mark in BAD else "open"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(prose=prose, tone=tone)
    environment.globals.update(
        words=words,
        lines=lines,
        plot=plot,
        search=_search,
        style=_source("regard.report", "style.css") + _source(str(__package__), "gallery.css"),
        script=_source(str(__package__), "gallery.js"),
    )
    return environment


def _search(standing: Standing) -> str:
    """What the search field looks through."""
    card: Any = standing.card
    parts = [card.slug, card.title, card.sentence, *(claim.statement for claim in card.claims)]
    return " ".join([*parts, card.family, standing.status, words.tally(standing.judged)]).lower()


def _source(package: str, name: str) -> Markup:
    return Markup(files(package).joinpath("templates", name).read_text(encoding="utf-8"))
