"""A made-up paper whose check is instant, put beside the real ones."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import regard.papers
from regard.papers.cards import cards

SOURCE = """
import os
from datetime import date
from pathlib import Path

from regard.papers.cards import Card, Claim, Cost, Deviation, Figure, Measured, Own

CLAIM = dict(metric="rate, %", reported="90 % in <b>BIG</b>", why="the base has 10", bench="toy")
CLAIMS = (
    Claim(
        name="rises", statement="The rate <script>alert(1)</script> rises.", threshold=5.0, measure="difference",
        against="base", controls={{"base": "plain softmax", "random": "random heads"}}, equation="a & b", tolerance=1e-6,
        own=Own(model="org/Big-7B", data="the Pile", command="regard papers check {slug} --model org/Big-7B",
                expected=90.0, within=2.0),
        **CLAIM,
    ),
    Claim(name="falls", statement="The loss falls.", threshold=0.5, measure="ratio", direction="below",
          against="base", controls={{"base": "plain softmax"}}, **CLAIM),
)

def check(setting):
    Path("ran.txt").open("a").write("{slug}\\n")
    {before}
    if setting.model:
        yield Measured("rises", setting.model, 0, {own}, data="the Pile")
        return
    yield Deviation("rises", "odd lengths", {deviation})
    for seed in setting.seeds:
        yield Measured("rises", "toy", seed, {value} + seed, {{"base": 10.0 + seed, "random": 11.0}})
        yield Measured("falls", "toy", seed, {loss} + seed / 100, {{"base": 1.0}})
    yield Figure("curve", ["step", "rate, %"], [[1, 0.5], [2, 0.75]])

CARD = Card(
    slug="{slug}", title="A made-up <i>paper</i>", family="sinks", authors=1, date=date(2025, 1, 2), arxiv="2501.00001",
    sentence="It makes & shows.", real="`regard scan MODEL`", claims=CLAIMS, check=check,
    cost=Cost(minutes=10, quick_minutes=1, memory_gb=0.5),
)
"""

Write = Callable[..., str]


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a made-up paper beside the real ones and return its slug; runs in an empty folder.

    All real ones are planned here: their checks train models.
    """
    room = tmp_path / "room"
    room.mkdir()
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(regard.papers, "__path__", [*regard.papers.__path__, str(room)])
    for one in cards():
        module = sys.modules[f"regard.papers.{one.slug.replace('-', '_')}"]
        monkeypatch.setattr(module, "CARD", replace(one, claims=(), check=None, cost=None, entries=()))
    written = []

    def write(
        slug: str = "made-up",
        value: str = "40.0",
        loss: str = "0.3",
        deviation: str = "1e-8",
        own: str = "91.0",
        before: str = "pass",
    ) -> str:
        name = slug.replace("-", "_")
        values = {"value": value, "loss": loss, "deviation": deviation, "own": own, "before": before}
        (room / f"{name}.py").write_text(SOURCE.format(slug=slug, **values), encoding="utf-8")
        forget(name)
        written.append(name)
        return slug

    def forget(name: str) -> None:
        # A module written twice in one second would be read from its old bytecode.
        sys.modules.pop(f"regard.papers.{name}", None)
        for cached in room.glob("__pycache__/*"):
            cached.unlink()

    yield write
    for name in written:
        forget(name)
        vars(regard.papers).pop(name, None)
