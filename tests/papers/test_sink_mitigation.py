"""The board of designs without a sink: who is on it, what it measures, and what equal time means."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from regard import attach
from regard.design import KeyBias, PNormalised, SignedAttention, SinkLogit, SoftmaxOffByOne
from regard.design.stored import Design
from regard.papers.boards import sink_mitigation as board
from regard.papers.boards.sink_mitigation import LARGE, SMALL, TASK, recipe, score, slowdown
from regard.papers.cards import Entry, Setting
from regard.papers.cards.board import Run, Split, entries
from regard.training import cached


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of its own, and runs of four steps that are evaluated after each second one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(board, "EVERY", 2)


def run(method: Design | None, split: Split = "test") -> Run:
    entry = Entry(board=TASK.name, name="one", method=method)
    return Run(bench=SMALL, entry=entry, trial={"lr": 1e-2}, seed=5, split=split, setting=Setting(seeds=(), quick=True))


def trained(method: Design | None) -> tuple[Any, list[dict[str, float]]]:
    """The model of `run` and its history."""
    made = recipe(SMALL, method, 1e-2, 5, quick=True)
    folder = cached(made)
    return made.load(folder).eval(), json.loads((folder / "history.json").read_text(encoding="utf-8"))


def test_methods_join_by_their_cards_and_all_tune_the_same() -> None:
    joined = {entry.name: entry for entry in entries(TASK)}
    assert joined["softmax"].role == "base" and joined["softmax"].method is None
    assert {"headwise gate", "elementwise gate", "key bias", "sigmoid"} <= joined.keys()
    for entry in joined.values():
        assert entry.trials == board.RATES
        assert all(recipe(bench, entry.method, 1e-3, 0).model() is not None for bench in (SMALL, LARGE))


@pytest.mark.parametrize("method", [None, SinkLogit(), KeyBias(), SignedAttention(), PNormalised(2.0)], ids=str)
def test_loss_and_sink_are_those_of_the_trained_model(method: Design | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "slowdown", lambda bench, design, seed: 1.0)
    found, tuning = score(run(method)), score(run(method, "tune"))
    model, rows = trained(method)
    assert found.keys() == TASK.metrics.keys()
    assert found["loss"] == pytest.approx(rows[-1]["eval_loss"], abs=1e-5) and rows[-1]["step"] == 4
    assert found["loss at equal time"] == rows[-1]["eval_loss"]
    assert abs(tuning["loss"] - found["loss"]) > 1e-4  # other texts
    ids = recipe(SMALL, method, 1e-2, 5).language.sample(board.TEXTS, board.DRAWN["test"]).ids
    weights = attach(model).weights({"input_ids": ids}, 0)
    if isinstance(method, SignedAttention | PNormalised):
        assert float(weights.min()) < 0 or float(weights.sum(-1).max()) > 1.1
        weights = weights.abs() / weights.abs().sum(-1, keepdim=True)
    bos = weights[..., 0]  # [batch, head, query]
    assert found["sink_mass"] == pytest.approx(float(bos.mean()), abs=1e-6)
    assert found["sink_rate"] == pytest.approx(float((bos.mean(-1) > 0.3).double().mean()), abs=1e-6)


def test_a_design_that_takes_twice_the_time_has_half_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board, "slowdown", lambda bench, design, seed: 2.0)
    found, (half, whole) = score(run(KeyBias())), trained(KeyBias())[1]
    assert (half["step"], whole["step"]) == (2, 4) and half["eval_loss"] != whole["eval_loss"]
    assert found["loss at equal time"] == half["eval_loss"] and found["time of a step"] == 2.0


def test_cpu_time_is_what_slows_down(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SoftmaxOffByOne.attend

    def burning(self: Any, *given: Any) -> Tensor:
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass
        return whole(self, *given)

    assert slowdown(SMALL, None, 0) == 1.0
    state = torch.get_rng_state()
    monkeypatch.setattr(SoftmaxOffByOne, "attend", burning)
    assert slowdown(SMALL, SoftmaxOffByOne(), 0, rounds=4) > 3.0
    assert torch.equal(torch.get_rng_state(), state)
    slowdown.cache_clear()
