"""What holds of every world."""

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest
import torch

from regard import worlds
from regard.worlds import (
    Aggregation,
    Batch,
    BigramBackcopy,
    Candidates,
    Induction,
    LittleEnglish,
    Lookup,
    Modular,
    Needle,
    Parallel,
    Patches,
    Scenes,
    World,
)
from regard.worlds.little_english.questions import QUESTIONS

WORLDS = [
    BigramBackcopy(),
    BigramBackcopy(bos=None),
    BigramBackcopy(bos=2),
    Induction(),
    Lookup(),
    Lookup(chains=3, hops=3),
    *(Candidates(task) for task in ("exclude", "paired", "compare", "mixture")),
    *(Modular(p=13, operation=operation, split="ordered") for operation in "+-*/"),
    Modular(p=13),
    Needle(length=200),
    Needle(length=64, needles=8, span=3, depth=1.0),
    Aggregation(length=200),
    LittleEnglish(),
    LittleEnglish(split="eval"),
]
MODULES = [name for _, name, _ in pkgutil.walk_packages(worlds.__path__, f"{worlds.__name__}.")]


def batches(count: int, seed: int, step: int = 0) -> dict[str, Batch]:
    """A batch of every kind that there is."""
    found = {repr(world): world.sample(count, seed, step) for world in WORLDS}
    for end in ("last", "first", "none"):
        pairs = Parallel(end=end).sample(count, seed, step)
        found |= {f"source {end}": pairs.source, f"target {end}": pairs.target}
    found["patches"] = Patches().sample(count, seed, step, image=True).texts
    for split in ("train", "eval"):
        found |= {f"{kind} {split}": LittleEnglish(split).questions(kind, count, seed, step) for kind in QUESTIONS}
        found[f"scenes {split}"] = Scenes(split).sample(count, seed, step).questions
    return found


BATCHES = batches(32, 5)


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_docstrings_run(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_there_are_examples() -> None:
    found = [doctest.DocTestFinder().find(importlib.import_module(module)) for module in MODULES]
    with_examples = {test.name.rpartition(".")[2] for tests in found for test in tests if test.examples}
    kinds = {name for name in worlds.__all__ if isinstance(getattr(worlds, name), type)}
    assert kinds - {"Batch", "Pairs", "Patchwork", "Pictures", "Score", "World"} <= with_examples


def test_importing_loads_nothing_heavy() -> None:
    code = "import regard.worlds, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, text=True, capture_output=True).stdout.split()
    assert "numpy" in loaded and not {"PIL", "tokenizers", "transformers", "matplotlib"} & set(loaded)


@pytest.mark.parametrize("name", BATCHES)
def test_a_seed_and_a_step_make_the_batch(name: str) -> None:
    first, same = BATCHES[name], AGAIN[name]
    assert torch.equal(first.ids, same.ids) and torch.equal(first.scored, same.scored)
    assert all(torch.equal(tokens, same.roles[role]) for role, tokens in first.roles.items())
    assert all(torch.equal(known, same.truth[what]) for what, known in first.truth.items())
    for other in OTHERS:
        assert other[name].ids.shape != first.ids.shape or not torch.equal(other[name].ids, first.ids)


AGAIN = batches(32, 5)
OTHERS = [batches(32, 6), batches(32, 5, step=1), batches(32, 0, step=5)]


@pytest.mark.parametrize("name", BATCHES)
def test_truth_agrees_with_the_tokens(name: str) -> None:
    batch = BATCHES[name]
    assert batch.ids.dtype == torch.long and int(batch.ids.min()) >= 0
    assert not batch.scored[:, 0].any() and not (batch.scored & ~batch.valid).any()
    assert bool(batch.scored.any()) is not name.startswith("source")
    assert not any((tokens & ~batch.valid).any() for tokens in batch.roles.values())
    if "answer" in batch.truth:
        first = batch.scored.int().argmax(1)
        assert torch.equal(batch.ids[torch.arange(len(batch)), first], batch.truth["answer"])
        assert batch.scored.any(1).all()
    if "wrong" in batch.truth:
        assert not (batch.truth["wrong"] == batch.truth["answer"][:, None]).any()
    if "source" in batch.truth:
        source = batch.truth["source"]
        assert (source < torch.arange(source.shape[1])).all() and (source >= 0).any()
        assert (batch.ids.gather(1, source.clamp(min=0)) == batch.ids)[source >= 0].all()
    if "surprise" in batch.truth:
        assert batch.truth["surprise"].shape == batch.ids.shape and (batch.truth["surprise"] >= 0).all()


@pytest.mark.parametrize("world", WORLDS, ids=repr)
def test_ids_are_of_the_vocabulary(world: World) -> None:
    ids = world.sample(64, 1).ids
    assert int(ids.max()) < world.vocabulary


def test_inputs_are_those_of_causal_models() -> None:
    batch = BATCHES["indirect_object train"]
    inputs = batch.inputs()
    assert (inputs["labels"] >= 0).sum() == batch.scored.sum() and (inputs["attention_mask"] == 0).any()
    assert torch.equal(inputs["labels"][batch.scored], batch.ids[batch.scored])


def test_take_keeps_truth_and_roles_together() -> None:
    batch = Lookup().sample(8, 0)
    some = batch.take(torch.tensor([5, 2]))
    assert torch.equal(some.ids, batch.ids[[5, 2]]) and torch.equal(some.truth["path"], batch.truth["path"][[5, 2]])
    assert torch.equal(some.roles["key"], batch.roles["key"][[5, 2]]) and len(some) == 2


@pytest.mark.parametrize(
    ("roles", "truth"), [({"a": torch.zeros(2, 3)}, {}), ({"a": torch.ones(2, 2) > 0}, {}), ({}, {"a": torch.zeros(3)})]
)
def test_a_batch_that_disagrees_is_refused(roles: dict[str, torch.Tensor], truth: dict[str, torch.Tensor]) -> None:
    ids = torch.zeros(2, 3, dtype=torch.long)
    Batch(ids, ids == 1, ids == 0)
    with pytest.raises(ValueError, match=r"bool|known"):
        Batch(ids, ids == 1, ids == 0, roles, truth)
