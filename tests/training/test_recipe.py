"""From a recipe to a folder that plain transformers load, once per key, in one piece."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training.test_fit import same
from training.toys import PROCESSES, STEPS, AdamW, ToyRecipe, die

from regard.training import build, cached, recipes, train

FILES = {"README.md", "history.json", "model.safetensors", "recipe.json"}


class Renumbered(ToyRecipe):
    """The same fields, other data."""

    def batch(self, step: int) -> Mapping[str, Tensor]:
        return super().batch(step + 1)


class Labelled(ToyRecipe):
    """The same fields, and a number more in each batch."""

    def batch(self, step: int) -> Mapping[str, Tensor]:
        return {**super().batch(step), "noise": torch.tensor(0.5)}


class Later(ToyRecipe):
    """The same fields, other code."""

    version = 2


def test_the_key_is_of_all_that_the_weights_depend_on(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = ToyRecipe()
    others = [
        replace(recipe, seed=1),
        replace(recipe, steps=13),
        replace(recipe, optimiser=AdamW(lr=0.05, warmup=2)),
        replace(recipe, target={"accuracy": 0.9}),
        Renumbered(),
        Labelled(),
        Later(),
    ]
    assert recipe.key == ToyRecipe().key
    assert len({recipe.key, *(other.key for other in others)}) == 8
    monkeypatch.setattr("regard.training.loop.VERSION", 99)
    assert ToyRecipe().key != recipe.key


def test_asking_for_a_key_draws_nothing() -> None:
    torch.rand(3)  # away from the state that a seed gives
    before = torch.get_rng_state()
    _ = ToyRecipe().key
    assert torch.equal(torch.get_rng_state(), before)


def test_a_field_that_is_no_plain_data_is_refused() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        _ = ToyRecipe(log=torch.ones(1)).key  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not JSON compliant"):
        _ = ToyRecipe(target={"accuracy": float("nan")}).key


def test_build_gives_a_folder_with_model_card_recipe_and_history(tmp_path: Path) -> None:
    recipe, told = ToyRecipe(log="", target={"accuracy": 2.0}), []
    folder = build(recipe, tmp_path / "toy", progress=lambda done, total: told.append((done, total)))
    assert {path.name for path in folder.iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]
    assert told == [(n, STEPS) for n in range(1, STEPS + 1)]
    values = json.loads((folder / "recipe.json").read_text())
    assert values["fields"]["optimiser"]["lr"] == 0.05 and values["recipe"] == "toy"
    rows = json.loads((folder / "history.json").read_text())
    assert rows[-1]["step"] == STEPS
    card = (folder / "README.md").read_text()
    for said in (
        recipe.about,
        recipe.corpus,
        recipe.key,
        "| factor | 3 |",
        "lr 0.05",
        "| target | accuracy 2.0 |",
        f"| accuracy | {rows[-1]['eval_accuracy']:.4g} |",
        "12 steps in 0 s, all steps done",
        f"torch {torch.__version__}",
    ):
        assert said in card


def test_models_of_one_recipe_are_bit_equal_and_of_another_seed_are_not(tmp_path: Path) -> None:
    recipe = ToyRecipe()
    one, two = (recipe.load(build(recipe, tmp_path / name)) for name in "ab")
    other = recipe.load(build(replace(recipe, seed=1), tmp_path / "c"))
    assert same(one, two) and not same(one, other)


def test_what_is_trained_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe = ToyRecipe(log=str(tmp_path / "log"))
    first = cached(recipe)
    assert first == tmp_path / "cache/regard/models" / f"toy-{recipe.key}"
    assert cached(recipe) == first and cached(replace(recipe, seed=1)) != first
    assert (tmp_path / "log").read_text() == "made\n" * 2


def ask(cache: Path, recipe: ToyRecipe, until: float) -> None:
    torch.set_num_threads(1)
    os.environ["XDG_CACHE_HOME"] = str(cache)
    while time.time() < until:
        pass
    recipe.load(cached(recipe))


def test_processes_that_ask_at_once_train_once(tmp_path: Path) -> None:
    recipe = ToyRecipe(log=str(tmp_path / "log"), steps=60, checkpoint_every=60)
    until = time.time() + 1
    processes = [PROCESSES.Process(target=ask, args=(tmp_path / "cache", recipe, until)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (tmp_path / "log").read_text() == "made\n"
    assert [path.name for path in (tmp_path / "cache/regard/models").iterdir()] == [f"toy-{recipe.key}"]


class Mortal(ToyRecipe):
    """Is killed while it saves the trained model."""

    def save(self, model: object, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        die()


def build_and_die(recipe: ToyRecipe, folder: Path) -> None:
    torch.set_num_threads(1)
    build(recipe, folder)


def test_a_process_killed_while_it_saves_leaves_no_folder_and_is_resumed(tmp_path: Path) -> None:
    process = PROCESSES.Process(target=build_and_die, args=(Mortal(), tmp_path / "toy"))
    process.start()
    process.join(60)
    assert process.exitcode == -9 and not (tmp_path / "toy").exists()
    told: list[int] = []
    folder = build(ToyRecipe(), tmp_path / "toy", progress=lambda done, total: told.append(done))
    assert not told  # all steps had been done
    build(ToyRecipe(), tmp_path / "other")
    assert same(ToyRecipe().load(folder), ToyRecipe().load(tmp_path / "other"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "toy"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    folder = build(ToyRecipe(), tmp_path / "toy")
    with pytest.raises(FileExistsError, match="holds a model of another recipe"):
        build(ToyRecipe(seed=1), folder)
    (tmp_path / "mine").mkdir()
    assert build(ToyRecipe(), tmp_path / "mine") == tmp_path / "mine"  # empty: nothing is lost
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("a")
    with pytest.raises(FileExistsError, match="is there already, and is no model"):
        build(ToyRecipe(), tmp_path / "notes")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "notes", "toy"]


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_has_its_name_and_plain_data(name: str) -> None:
    recipe = recipes.named(name)
    assert recipe.name == name and recipe.about and recipe.corpus and len(recipe.key) == 20


def test_an_unknown_recipe_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no recipe is named 'bench_sinks'; there are .*bench-sink"):
        train("bench_sinks", tmp_path / "x")


def test_bench_sink_is_trained_and_loads_through_plain_transformers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = train("bench-sink", tmp_path / "m", steps=40)
    assert capfd.readouterr() == ("", "")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    text = tokenizer("<bos> s9 s4 t1 s4 s31", return_tensors="pt")
    assert text.input_ids.tolist() == [[0, 9, 4, 1, 4, 31]] and model(**text).logits.shape == (1, 6, 32)
    recipe = replace(recipes.named("bench-sink"), steps=40)
    found = recipe.evaluate(model.eval())
    rows = json.loads((folder / "history.json").read_text())
    assert found["loss"] == pytest.approx(rows[-1]["eval_loss"], rel=1e-6)
    assert found["least_loss"] < found["loss"] < torch.tensor(31.0).log()  # learnt, and not more than there is to learn
    with pytest.raises(Exception, match="UNK"):
        tokenizer("hello")


def test_a_short_run_has_checkpoints_too_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(done: int, steps: int) -> None:
        if done == 17:
            raise Killed

    with pytest.raises(Killed):
        train("bench-sink", tmp_path / "m", steps=20, progress=kill)
    assert list(tmp_path.glob(".m.*/checkpoints/step-000000016")) and not (tmp_path / "m").exists()
    done: list[int] = []
    train("bench-sink", tmp_path / "m", steps=20, progress=lambda step, steps: done.append(step))
    assert done == [17, 18, 19, 20]
    train("bench-sink", tmp_path / "whole", steps=20)
    assert (tmp_path / "m/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()
