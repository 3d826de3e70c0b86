"""A sweep trains each run once, here or on Ray, and its laws are found in runs that are made by them."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_cluster import local_cluster
from training.toys import STEPS, ToyRecipe

from regard.training.cluster import spread
from regard.training.grokking import Boundary, boundary, grok_step, held_out_error, power_law
from regard.training.history import History
from regard.training.sweep import history, sweep


@pytest.fixture
def recipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ToyRecipe]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return [ToyRecipe(seed=seed, log=str(tmp_path / "log")) for seed in range(3)]


@pytest.fixture(scope="module")
def on_ray() -> Iterator[None]:
    """A cluster of this machine's, whose workers know the toys."""
    with local_cluster({"env_vars": {"PYTHONPATH": str(Path(__file__).parents[1])}}):
        yield


def test_a_sweep_goes_on_where_it_stopped(tmp_path: Path, recipes: list[ToyRecipe]) -> None:
    told: list[tuple[int, int]] = []
    first = sweep(recipes[:2])
    found = sweep(recipes, progress=lambda done, total: told.append((done, total)))
    assert (tmp_path / "log").read_text() == "made\n" * 3
    assert told == [(1, 3), (2, 3), (3, 3)] and [one.rows for one in found[:2]] == [one.rows for one in first]
    assert [one.steps for one in found] == [STEPS] * 3 and {one.ended for one in found} == {"steps"}
    assert found[0].rows != found[1].rows


def test_on_ray_it_is_the_same(on_ray: None, recipes: list[ToyRecipe]) -> None:
    told: list[int] = []
    found = sweep(recipes, on_ray=True, progress=lambda done, total: told.append(done))
    assert told == [1, 2, 3] and Path(recipes[0].log).read_text() == "made\n" * 3
    assert [one.rows for one in found] == [
        one.rows for one in sweep(recipes)
    ]  # found in the cache that tasks wrote into
    assert Path(recipes[0].log).read_text() == "made\n" * 3


def test_what_a_task_raises_comes_here(on_ray: None, recipes: list[ToyRecipe]) -> None:
    broken = replace(recipes[0], log=str(Path(recipes[0].log) / "below a file"))
    Path(recipes[0].log).write_text("")
    with pytest.raises(NotADirectoryError):
        sweep([broken], on_ray=True)


def test_a_target_is_reached_by_what_was_measured_only(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"fields": {"target": {"gain": -1.0}}}')
    for value, ended in (("null", "steps"), ("-2.0", "steps"), ("-0.5", "target")):
        (tmp_path / "history.json").write_text(f'[{{"step": 1, "eval_gain": {value}}}]')
        assert history(tmp_path).ended == ended


def test_a_cluster_without_gpus_is_told(on_ray: None) -> None:
    with pytest.raises(ValueError, match="needs 1 GPU"):
        next(spread(str, [1], gpus=1))


def test_a_missing_ray_is_told(monkeypatch: pytest.MonkeyPatch, recipes: list[ToyRecipe]) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "regard\[ray\]"'):
        sweep(recipes, on_ray=True)


def test_the_grok_step_is_the_first() -> None:
    rows: list[Any] = [{"step": 10}, {"step": 20, "eval_accuracy": 0.99}, {"step": 30, "eval_accuracy": 1.0}]
    assert grok_step(History(rows)) == 20 and grok_step(History(rows[:1])) is None
    assert grok_step(History([{"step": 5, "eval_accuracy": None}])) is None


def test_a_boundary_that_runs_are_drawn_from_is_in_its_interval() -> None:
    rng = np.random.default_rng(0)
    decays = np.repeat([0.01, 0.02, 0.04, 0.08, 0.16, 0.32], 40)
    chance = 1 / (1 + np.exp(-3 * (np.log(decays) - log(0.05))))
    found = boundary(list(decays), list(rng.random(len(decays)) < chance), draws=200)
    assert found.low < 0.05 < found.high and found.critical == pytest.approx(0.05, rel=0.25)
    assert found.sharpness == pytest.approx(3, rel=0.35)


def test_runs_that_are_parted_have_their_boundary_in_the_gap() -> None:
    found = boundary([0.1, 0.1, 0.4, 0.4], [False, False, True, True], draws=50)
    assert isinstance(found, Boundary) and found.critical == pytest.approx(0.2) and found.low == pytest.approx(0.2)
    with pytest.raises(ValueError, match="all of 2 runs grok"):
        boundary([0.1, 0.2], [True, True])


def test_a_power_law_is_found_again() -> None:
    decays = [0.03, 0.05, 0.1, 0.3, 1.0, 0.01]
    steps = [round(135.5e3 * (decay - 0.0158) ** -0.757) if decay > 0.0158 else 1 for decay in decays]
    found = power_law(decays, steps, critical=0.0158)
    assert found.exponent == pytest.approx(0.757, abs=1e-3) and found.factor == pytest.approx(135.5e3, rel=1e-3)
    assert found.error < 1e-3
    noisy = power_law(decays, [round(s * exp(0.2 * (-1) ** i)) for i, s in enumerate(steps)], critical=0.0158)
    assert noisy.error > 0.02
    with pytest.raises(ValueError, match="three runs"):
        power_law([0.1, 0.2], [5, 3])


def test_what_tells_nothing_does_not_help_a_prediction() -> None:
    rng = np.random.default_rng(0)
    clock, noise, hidden = rng.normal(size=(3, 200))
    target, groups = clock + hidden, list(np.repeat(range(5), 40))
    base, more, better = (
        held_out_error(np.stack(columns, 1), target, groups).mean()
        for columns in ([clock], [clock, noise], [clock, hidden])
    )
    assert base == pytest.approx(1, abs=0.25) and more >= base * 0.99 and better < 0.05
    with pytest.raises(ValueError, match="there is one"):
        held_out_error(clock[:, None], target, [0] * 200)
