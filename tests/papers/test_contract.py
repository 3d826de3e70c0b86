"""What holds for every card, and that the page of the documents is what the cards say."""

import sys
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

import regard.papers
from regard.papers.cards import Card, board, card, cards
from regard.papers.cards.card import Family
from regard.papers.cards.results import standing
from regard.papers.cards.words import markdown

ROOT = Path(__file__).parents[2]
ALL = cards()


def test_there_is_a_card_for_every_paper() -> None:
    assert len(ALL) == 46
    assert len({one.title for one in ALL}) == len({one.arxiv for one in ALL}) == 46
    assert {one.family for one in ALL} == set(get_args(Family))


def test_a_card_is_found_by_its_file() -> None:
    files = {path.stem for path in Path(regard.papers.__file__).parent.glob("*.py")} - {"__init__"}
    assert {one.slug.replace("-", "_") for one in ALL} == files


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.slug)
def test_facts_are_complete(one: Card) -> None:
    assert card(one.slug) is one
    assert date(2017, 1, 1) < one.date < date(2027, 1, 1)
    year, month, number = int(one.arxiv[:2]), int(one.arxiv[2:4]), one.arxiv[5:]
    assert 17 <= year <= 26 and 1 <= month <= 12 and len(number) == 5 and number.isdecimal()
    assert one.title.strip() == one.title and (one.authors is None or 1 <= one.authors <= 20)
    assert one.sentence.endswith(".") and 60 < len(one.sentence) < 260
    for name in one.methods:
        module, _, attribute = name.rpartition(".")
        assert hasattr(import_module(module), attribute), name
    if not one.planned:
        assert one.real, "a card with claims says how to use the method on a real model"
        assert all(claim.own for claim in one.claims if claim.bench), "and on the paper's own model"


def test_the_page_of_the_documents_is_up_to_date() -> None:
    page = markdown([standing(one, ROOT / "results") for one in ALL])
    said = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    assert said == page, "run regard papers list --markdown > docs/papers.md"


def test_the_tables_of_boards_in_the_documents_are_what_is_recorded() -> None:
    said = (ROOT / "docs" / "boards.md").read_text(encoding="utf-8")
    for task in board.tasks():
        assert board.markdown(board.load(task, ROOT / "results")) in said, (
            f"put in what papers board {task.name} --recorded prints"
        )


def test_an_unknown_slug_has_neighbours() -> None:
    with pytest.raises(ValueError, match="do you mean gated-attention"):
        card("gate-attention")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("CARDS = 1", "regard.papers.another declares no CARD"),
        ("from regard.papers.a_star import CARD", "has the card of 'a-star'"),
    ],
)
def test_a_module_without_a_card_of_its_name_is_refused(
    source: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "another.py").write_text(source)
    monkeypatch.setattr(regard.papers, "__path__", [*regard.papers.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "regard.papers.another", raising=False)
    with pytest.raises(ValueError, match=reason):
        cards()
