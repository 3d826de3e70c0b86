"""The gallery: every card is on it, nothing on it is taken for markup, and nothing is fetched."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from regard.cli import app
from regard.papers.cards import Figure, cards
from regard.papers.cards.plot import lines

Write = Callable[..., str]


class Reader(HTMLParser):
    """Collects the ids and statuses of papers, and every address that a page fetches."""

    def __init__(self) -> None:
        super().__init__()
        self.papers: dict[str, str] = {}
        self.fetched: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.append(tag)
        if tag == "article":
            self.papers[str(values["id"])] = str(values["data-status"])
        if tag in ("img", "script", "link", "iframe") and (address := values.get("src") or values.get("href")):
            self.fetched.append(address)


def gallery(*arguments: str) -> tuple[str, Reader]:
    """The page and what a parser reads in it."""
    result = CliRunner().invoke(app, ["papers", "gallery", *arguments])
    assert result.exit_code == 0, result.stderr
    page = Path(result.stdout.strip()).read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(page)
    return page, reader


def test_every_paper_is_on_it(made_up: Write) -> None:
    slug = made_up()
    page, reader = gallery("--out", "page.html")
    assert set(reader.papers) == {one.slug for one in cards()} and len(reader.papers) == 47
    assert reader.papers[slug] == "not checked"
    assert [status for name, status in reader.papers.items() if name == "a-star"] == ["planned"]
    assert reader.fetched == ["data:,"] and "url(" not in page and "@import" not in page


@pytest.mark.parametrize(
    ("value", "word", "tone"), [("40.0", "seen in toy", "good"), ("12.0", "not seen in toy", "bad")]
)
def test_verdicts_are_escaped_and_plain(made_up: Write, value: str, word: str, tone: str) -> None:
    slug = made_up(value=value)
    assert CliRunner().invoke(app, ["papers", "check", slug]).exit_code == 0
    page, reader = gallery()
    assert reader.papers[slug] == "checked"
    assert "alert(1)" in page and "<script>alert" not in page and "<b>BIG" not in page and "<i>paper" not in page
    assert reader.tags.count("script") == 1 and "i" not in reader.tags
    assert re.search(rf'<li class="{tone}"><span>mechanism</span> {word}', page)
    assert page.count('class="seed"') == 10 and '<polyline class="line l0"' in page
    assert "regard papers check made-up --model org/Big-7B" in page


def test_lines_are_drawn_of_numbers_only() -> None:
    drawn = lines(Figure("f", ["x", "a", "b"], [[0, 1.0, 3.0], [10, 2.0, 5.0]]))
    assert drawn is not None and len(drawn.lines) == 2 and (drawn.bottom, drawn.top) == ("1", "5")
    first, last = (point.split(",") for point in drawn.lines[1].split())
    assert float(first[0]) < float(last[0]) and float(first[1]) > float(last[1])  # up is up
    assert lines(Figure("f", ["arm", "a"], [["softmax", 1.0], ["gate", 2.0]])) is None
    assert lines(Figure("f", ["x", "a"], [[0, float("nan")], [1, 1.0]])) is None
