"""Boards: methods join by their cards, all are tuned alike and on another split, and leads are paired."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import regard.papers.boards
from regard.cli import app
from regard.papers.cards import Card, Cost, Entry, Setting, card
from regard.papers.cards import board as boards

SEEDS = Setting(seeds=(0, 1, 2, 3, 4))


def score(run: boards.Run) -> dict[str, float]:
    """What a method's `method` says for a strength, on top of what a seed brings to all methods alike."""
    strength = run.trial.get("strength", 0)
    found = run.entry.method(strength) if run.split == "test" else run.trial.get("tune", strength)
    return {"accuracy": 10.0 * run.seed + found, "length": 5.0 - strength + run.seed}


TRIALS = ({"strength": 1}, {"strength": 2})
TASK = boards.Task(
    name="made-up",
    title="Less of it",
    benches=("tiny",),
    metrics={"accuracy": "higher", "length": "lower"},
    trials=2,
    entries=(
        Entry(board="made-up", name="base", role="base", method=lambda _: 0.0),
        Entry(board="made-up", name="random heads", role="baseline", method=lambda _: 0.5, trials=TRIALS),
    ),
    score=score,
    cost=Cost(minutes=10, quick_minutes=1, memory_gb=1),
)
METHOD = Entry(board="made-up", name="ours", method=lambda strength: float(strength), trials=TRIALS)


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Card]]:
    """Cards that a test changes: one paper, with one method on the board."""
    cards = [replace(card("a-star"), entries=(METHOD,))]
    monkeypatch.setattr(boards, "cards", lambda: cards)
    yield cards


def test_a_method_joins_by_its_card(joined: list[Card]) -> None:
    found = boards.run(TASK, SEEDS)
    assert [one.name for one in found.scored] == ["ours", "random heads", "base"]
    assert found.title == "Less of it, in tiny"
    joined.clear()
    assert [one.name for one in boards.run(TASK, SEEDS).scored] == ["random heads", "base"]


def test_leads_are_paired(joined: list[Card]) -> None:
    ours, _, base = boards.run(TASK, SEEDS).scored
    assert ours.trial == {"strength": 2} and base.trial == {} and base.ahead == {}
    lead = ours.ahead["accuracy"]
    assert (lead.low, lead.mean, lead.high) == pytest.approx((2.0, 2.0, 2.0))  # seeds differ by 10, and cancel
    assert ours.spreads["accuracy"].high - ours.spreads["accuracy"].low > 10
    assert ours.ahead["length"].mean == pytest.approx(2.0)  # shorter is better


def test_tuning_never_sees_the_test_split(joined: list[Card]) -> None:
    misled = replace(METHOD, trials=({"strength": 1, "tune": 9.0}, {"strength": 2, "tune": 0.0}))
    joined[0] = replace(joined[0], entries=(misled,))
    ours = next(one for one in boards.run(TASK, SEEDS).scored if one.name == "ours")
    assert ours.trial["strength"] == 1 and ours.ahead["accuracy"].mean == pytest.approx(1.0)


def test_runs_are_counted_beforehand(joined: list[Card]) -> None:
    told: list[tuple[int, int]] = []
    boards.run(TASK, SEEDS, lambda done, total: told.append((done, total)))
    assert told == [(done, 19) for done in range(1, 20)]  # 3 methods at 5 seeds, 2 of them with 2 trials


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (replace(METHOD, trials=(*TRIALS, {"strength": 3})), "ours has 3 trials, where every method has 2"),
        (replace(METHOD, trials=({"strength": 3},)), "ours has 1 trials"),
        (replace(METHOD, name="base"), "a name is used twice"),
        (replace(METHOD, method=lambda _: float("nan")), "ours has no finite accuracy in tiny, seed 0"),
    ],
)
def test_unfair_entries_are_refused(joined: list[Card], entry: Entry, reason: str) -> None:
    joined[0] = replace(joined[0], entries=(entry,))
    with pytest.raises(ValueError, match=reason):
        boards.run(TASK, SEEDS)


def test_a_board_has_something_to_compare_with(joined: list[Card]) -> None:
    with pytest.raises(ValueError, match="one base and at least one baseline"):
        replace(TASK, entries=TASK.entries[:1])
    with pytest.raises(ValueError, match="3 seeds decide nothing"):
        boards.run(TASK, Setting(seeds=(0, 1, 2)))


def test_the_command(joined: list[Card], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_up.py").write_text(f"from {__name__} import TASK")
    monkeypatch.setattr(regard.papers.boards, "__path__", [str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    try:
        done = CliRunner().invoke(app, ["papers", "board", "made-up"])
        again = CliRunner().invoke(app, ["papers", "board", "made-up", "--recorded"])
    finally:
        sys.modules.pop("regard.papers.boards.made_up", None)
    assert done.exit_code == 0 and "made-up: about 10 minutes" in done.stderr
    assert "## made-up\n\nLess of it, in tiny.\n\n### Tiny\n" in done.stdout
    assert again.exit_code == 0 and done.stdout.startswith(again.stdout)
    row = "| ours | method | strength 2 | 22 [2.37, 41.6] | 5 [3.04, 6.96] | 2 [2, 2], detectable 0 |"
    assert row in done.stdout
    written = json.loads(Path("results/boards/made-up.json").read_text(encoding="utf-8"))
    assert written["title"] == "Less of it, in tiny" and written["scored"][0]["values"]["accuracy"][1] == 12.0


def test_a_record_of_another_task_is_refused(joined: list[Card], tmp_path: Path) -> None:
    boards.save(boards.run(TASK, SEEDS), tmp_path)
    assert boards.load(TASK, tmp_path).scored == boards.run(TASK, SEEDS).scored
    with pytest.raises(ValueError, match="no board of made-up as it is now: run it again"):
        boards.load(replace(TASK, metrics={"accuracy": "lower", "length": "lower"}), tmp_path)


def test_an_unknown_board_is_told() -> None:
    done = CliRunner().invoke(app, ["papers", "board", "no-such-board"])
    assert done.exit_code == 1 and "there is no board 'no-such-board'" in done.stderr
