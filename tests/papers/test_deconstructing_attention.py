"""The claims on deconstructed attention: their equations can fail, their bench asks what it says, a user's model is measured."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from regard.design.key_score import KeyScores
from regard.design.mixer import decoder_layers, mixer_of
from regard.design.other_source import RandomQK, TextQK
from regard.papers import deconstructing_attention as paper
from regard.papers.cards import Deviation, Figure, Measured, Setting
from regard.papers.deconstructing_attention import ARMS, BENCH, CARD, _equations, largest_score, recipe, running
from regard.training import cached
from regard.training.recipes.bench_mixer import BenchMixer
from regard.worlds.bindings import Bindings

BY_NAME = {claim.name: claim for claim in CARD.claims}


def test_the_equations_are_exact_and_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(_equations())
    assert all(abs(one.value) <= BY_NAME[one.claim].tolerance for one in found)
    assert {one.claim for one in found} == {claim.name for claim in CARD.claims if claim.equation}
    monkeypatch.setattr(paper, "TextQK", lambda ids: TextQK(ids[::-1]))
    monkeypatch.setattr(paper, "running", lambda scores, v: running(2 * scores, v))
    monkeypatch.setattr(paper, "EmbeddingQK", lambda: RandomQK(17))
    broken = {one.claim for one in _equations() if abs(one.value) > BY_NAME[one.claim].tolerance}
    assert broken == {"same-text", "running", "first-layer"}


def test_each_claim_is_measured_once_a_seed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    whole = recipe

    def tiny(arm: str, seed: int, quick: bool) -> BenchMixer:
        return replace(whole(arm, seed, quick), steps=1, width=16, batch_size=4, heads=2)

    monkeypatch.setattr(paper, "recipe", tiny)
    found = list(paper.check(Setting(seeds=(3,), quick=True)))
    rows = [one for one in found if isinstance(one, Measured)]
    assert sorted(one.claim for one in rows) == sorted(claim.name for claim in CARD.claims if claim.bench)
    assert {one.model for one in rows} == {BENCH} and any(isinstance(one, Deviation) for one in found)
    (figure,) = (one for one in found if isinstance(one, Figure))
    assert [row[0] for row in figure.rows] == list(ARMS)


def test_a_users_model_gets_mixers_layer_by_layer(tmp_path: Path) -> None:
    from regard.training.recipes.tiny_lm import RECIPE

    tokenizer = RECIPE.tokenizer()
    assert tokenizer is not None
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = list(paper.check(Setting(seeds=(0,), quick=True, model=str(tmp_path))))
    (row,) = (one for one in found if isinstance(one, Measured))
    (figure,) = (one for one in found if isinstance(one, Figure))
    assert row.claim == "substitution" and [one[0] for one in figure.rows] == [0, 1]
    assert row.value == pytest.approx(sum(float(one[2]) for one in figure.rows) / 2, abs=1e-6)


def test_bindings_tell_where_an_answer_lies() -> None:
    world = Bindings(names=5, values=3, shown=4)
    batch = world.sample(50, seed=0)
    rows, places = batch.scored.nonzero(as_tuple=True)
    bound = batch.ids[rows, batch.truth["binding"][rows, places]] - 1 - world.names - world.values
    assert torch.equal(bound // world.values, batch.ids[rows, places - 1] - 1)
    assert torch.equal(bound % world.values, batch.ids[rows, places] - 1 - world.names)
    assert bool(batch.roles["name"][rows, places - 1].all()) and batch.scored.sum(1).tolist() == [4] * 50
    assert int(batch.ids.max()) < world.vocabulary and torch.equal(world.sample(50, seed=0).ids, batch.ids)
    assert len(set(batch.ids[:, 1].tolist())) > 5 and not torch.equal(world.sample(50, seed=0, step=1).ids, batch.ids)
    with pytest.raises(ValueError, match="cannot be bound"):
        Bindings(names=3, shown=4)


def test_the_bench_has_both_languages_apart_and_scores_each() -> None:
    bench = BenchMixer(width=16, heads=2, layers=1)
    batch, copied = bench.texts(6, seed=0)
    ids, scored = batch["input_ids"], batch["labels"] >= 0
    assert int(ids[:6].max()) < bench.text.vocabulary <= int(ids[6:].min())
    assert bool(copied[:6].any()) and not bool(copied[6:].any()) and bool((scored[6:].sum(1) == 10).all())

    class Knowing(torch.nn.Module):
        """Tells copies and recalls nothing."""

        def __init__(self) -> None:
            super().__init__()
            self.nothing = torch.nn.Parameter(torch.zeros(1))

        def forward(self, input_ids: torch.Tensor) -> Any:
            said = torch.nn.functional.one_hot(input_ids.roll(1, 1), bench.model().config.vocab_size)  # type: ignore[union-attr,arg-type]
            return type("Out", (), {"logits": said.float() * 9})

    found = bench.evaluate(Knowing())
    assert found["copy"] == 1.0 and found["recall"] < 0.1


def test_a_trained_arm_comes_back_with_its_mixer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = replace(recipe("hybrid key scores", 0, quick=True), steps=1, width=16, heads=2, batch_size=4)
    model = made.load(cached(made))
    assert mixer_of(model) == KeyScores("hybrid")
    ids = made.texts(2, 0)[0]["input_ids"]
    with torch.no_grad():
        given: Any = []
        block: Any = decoder_layers(model)[0]
        handle = block.self_attn.register_forward_pre_hook(
            lambda module, args, kwargs: given.append(kwargs["hidden_states"]), with_kwargs=True
        )
        model(input_ids=ids)
        handle.remove()
        first = float(block.self_attn.scores(given[0]).abs().max())
    assert largest_score(model, ids) >= first > 0
