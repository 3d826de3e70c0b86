"""The claims of grokking and weight decay: what is judged from runs is what was put into them."""

from math import log
from typing import Any

import pytest

import regard.papers.grokking_weight_decay as paper
from regard.papers.cards import Evidence, Figure, Measured
from regard.training.history import History
from regard.training.recipes.bench_grokking import BenchGrokking


def run(grok: float | None, steps: int = paper.HORIZON, similar: float = 0.0, spread: float = 0.0) -> History:
    """A run that knows its training pairs at step 200 and groks at a step; the numbers rise by then."""
    rows: list[dict[str, Any]] = []
    end = steps if grok is None else min(steps, round(grok / 40 + 0.5) * 40)
    for step in range(40, end + 1, 40):
        done = grok is not None and step >= grok
        rows.append(
            {
                "step": step,
                "lr": 2e-3,
                "eval_accuracy": 1.0 if done else 0.4,
                "eval_mirrored": 1.0,
                "eval_unmirrored": 1.0 if done else 0.0,
                "eval_train_accuracy": 1.0 if step >= 200 else 0.5,
                "eval_train_loss": 1 / step,
                "eval_norm": 20 + step / 1000,
                "eval_similarity": 0.8 + similar * step / end,
                "eval_centred_similarity": 0.2 + similar * step / end,
                "eval_entropy_spread": 0.01 + spread * step / end,
            }
        )
    return History(rows, "steps")


def sweep_of(seed: int = 0, law: bool = True, similar: float = 0.2) -> dict[tuple[float, str], History]:
    """Runs of a law: grok after 700 / decay steps, or without one after 300 steps from a decay of 0.6 on."""
    made: dict[tuple[float, str], History] = {(0.0, ""): run(None)}
    for decay in paper.DECAYS[1:]:
        step = 700 / decay * (1 + 0.01 * seed) if law else 300 if decay > 0.6 else None
        grokked = step is not None and step <= paper.HORIZON
        made[decay, ""] = run(step if grokked else None, similar=similar)
    made[2.0, paper.SLOW] = run(700 if law else 300)
    return made


def rows(found: Any) -> dict[str, Measured]:
    return {one.claim: one for one in found if isinstance(one, Measured)}


def test_the_diagnostics_are_exact() -> None:
    assert paper.deviation() < 1e-5


def test_a_law_without_a_boundary_has_one_at_every_horizon() -> None:
    found = rows(paper.of_seed(0, sweep_of()))
    assert found["grokking"].value == 1 and found["grokking"].controls["without"] == 0.4
    assert found["mirror"].value - found["mirror"].controls["unmirrored"] > 0.9
    assert found["horizon"].value == pytest.approx(2) and found["boundary"].value == pytest.approx(log(2))
    assert found["clock"].value == pytest.approx(0, abs=0.06)
    assert found["speed"].value == pytest.approx(1 - 0.757, abs=0.08)  # steps are rounded to evaluations
    assert found["similarity"].value == pytest.approx(0.2 * (1 - 200 / 720))
    assert found["similarity"].controls["without"] == 0 and found["spread"].value == 0


def test_a_boundary_stays_where_it_is() -> None:
    found = rows(paper.of_seed(0, sweep_of(law=False)))
    assert found["horizon"].value == 1 and found["boundary"].value == 0
    assert paper.critical(sweep_of(law=False), paper.SHORT) == pytest.approx((0.5 * 0.7) ** 0.5)


def test_what_never_groks_has_no_number() -> None:
    runs = {key: run(None) for key in sweep_of()}
    found = rows(paper.of_seed(0, runs))
    assert all(found[name].value != found[name].value for name in ("boundary", "horizon", "clock", "speed"))


@pytest.mark.parametrize(("similar", "helps"), [(0.2, False), (None, True)])
def test_predictions_find_what_there_is_to_find(similar: float | None, helps: bool) -> None:
    found = {}
    for seed in range(5):
        runs = sweep_of(seed)
        if similar is None:  # the early similarity tells the end, and nothing else does
            for number, decay in enumerate((0.5, 1.0, 2.0)):
                step = (300, 900, 1500)[(number + seed) % 3]
                runs[decay, ""] = run(step)
                for row in runs[decay, ""].rows:
                    row["eval_similarity"] = log(step)
            runs = {key: value for key, value in runs.items() if key in ((0.5, ""), (1.0, ""), (2.0, ""))}
        found[seed] = runs
    judged = [one for one in paper.predictions(found) if one.claim == "prediction"]
    assert len(judged) == 5
    better = [one.value < 0.9 * one.controls["baseline"] for one in judged]
    assert all(better) if helps else not all(better)


def test_one_seed_foretells_nothing() -> None:
    assert not list(paper.predictions({0: sweep_of()}))


def test_figures_have_every_run_and_the_laws() -> None:
    found: list[Evidence] = list(paper.figures({seed: sweep_of(seed) for seed in range(2)}))
    by = {one.name: one for one in found if isinstance(one, Figure)}
    assert len(by["runs"].rows) == 2 * 9
    assert [row[0] for row in by["laws"].rows][-1] == "exponent of the time to grok"
    assert by["laws"].rows[-1][1] == pytest.approx(1.0, abs=0.1)
    assert all(len(row) == len(by["curves"].columns) for row in by["curves"].rows)


def test_an_intervention_is_at_the_peak_and_its_placebo_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    control, asked = run(700), list[BenchGrokking]()
    control.rows[5]["eval_entropy_spread"] = 0.5  # step 240

    def sweep(recipes: list[BenchGrokking]) -> list[History]:
        asked.extend(recipes)
        return [run(700, spread=0.1), run(700, spread=0.2)]

    monkeypatch.setattr(paper, "sweep", sweep)
    found = paper.intervened(BenchGrokking(seed=2), control)
    assert asked[0].renewed_at == 239 and asked[1].renewed_at not in (None, 239)
    assert all(one.steps == control.steps == 720 and not one.target and one.seed == 2 for one in asked)
    assert found.value == pytest.approx(0.11) and found.controls == {"control": 0.5, "placebo": pytest.approx(0.21)}


def test_a_renewed_head_is_new_and_nothing_else_is() -> None:
    import torch

    from regard.training.recipes.bench_grokking import renew

    recipe = BenchGrokking(layers=2, renewed_at=3)
    model = recipe.model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert not bool(recipe.batch(2)["renew"]) and "renew" not in BenchGrokking().batch(2)
    recipe.loss(model, recipe.batch(2))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    recipe.loss(model, recipe.batch(3))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {
        f"gpt_neox.layers.{n}.attention.{w}.weight" for n in (0, 1) for w in ("query_key_value", "dense")
    }
    for layer in model.gpt_neox.layers:  # 4 heads of 16
        assert torch.equal(layer.attention.query_key_value.weight[48:], before[_name(layer, model)][48:])
    renew(model, 1)
    assert not torch.equal(
        model.gpt_neox.layers[0].attention.query_key_value.weight[48:96],
        before["gpt_neox.layers.0.attention.query_key_value.weight"][48:96],
    )


def _name(layer: Any, model: Any) -> str:
    return f"gpt_neox.layers.{list(model.gpt_neox.layers).index(layer)}.attention.query_key_value.weight"


def test_arms_differ_in_one_thing() -> None:
    made = paper.arms(3, quick=False)
    assert [decay for decay, how in made if not how] == list(paper.DECAYS)
    assert {one.seed for one in made.values()} == {3} and len({one.key for one in made.values()}) == len(made)
    slow, fast = made[2.0, paper.SLOW].optimiser, made[1.0, ""].optimiser
    assert slow.lr * slow.weight_decay == pytest.approx(fast.lr * fast.weight_decay) and slow.lr == fast.lr / 2


def test_the_bench_model_sees_no_answer() -> None:
    import torch

    torch.manual_seed(0)
    recipe = BenchGrokking()
    model = recipe.model().eval()
    ids = recipe.batch(0)["ids"]
    other = ids.clone()
    other[:, 3] = 0
    with torch.no_grad():
        assert recipe.loss(model, {"ids": ids}) != recipe.loss(model, {"ids": other})
        found = recipe.evaluate(model)
    assert found["accuracy"] < 0.1 and 10 < found["norm"] < 40 and 0 < found["similarity"] <= 1
    shown = {tuple(row) for row in recipe._pairs.ids.tolist()}
    assert not shown & {tuple(row) for row in recipe._others.ids.tolist()}
