"""The survey's card: its equations, its arms, and a user's model that is streamed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from regard.papers import attention_sink_survey as paper
from regard.papers.cards import Deviation, Figure, Measured, Setting
from regard.worlds.little_english import tokenizer


def bench() -> tuple[Any, torch.Tensor]:
    """A bench model with weights large enough to attend unevenly, and texts."""
    torch.manual_seed(0)
    recipe = paper.recipe_of("softmax", seed=0)
    model: Any = recipe.model().eval()
    with torch.no_grad():
        model.transformer.h[0].attn.c_attn.weight.normal_(std=0.4)
    return model, recipe.language.sample(5, 0).ids


def test_equations_are_exact() -> None:
    tolerance = {claim.name: claim.tolerance for claim in paper.CARD.claims if claim.equation}
    found = [one for one in paper._equations() if isinstance(one, Deviation)]
    assert {one.claim for one in found} == tolerance.keys()
    for one in found:
        assert abs(one.value) <= tolerance[one.claim]


def test_an_equation_that_does_not_hold_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "ScaleSegments", lambda factors, renormalise: paper.BiasKeys.by_factor("first", 0.4))
    found = {one.claim: one.value for one in paper._equations() if isinstance(one, Deviation)}
    assert found["zero-tuning"] > 1e-2 > found["keep-mask"]


def test_a_stream_through_a_whole_cache_has_the_loss_of_the_model() -> None:
    model, ids = bench()
    with torch.no_grad():
        whole = float(model(input_ids=ids, labels=ids).loss)
    assert paper.stream_loss(model, ids, 0, 99) == pytest.approx(whole, abs=1e-4)
    assert abs(paper.stream_loss(model, ids, 0, 2) - whole) > 1e-3


def test_the_norm_is_that_of_the_values() -> None:
    model, ids = bench()
    with torch.no_grad():
        hidden = model.transformer.h[0].ln_1(model.transformer.wte(ids) + model.transformer.wpe.weight[: ids.shape[1]])
        values = model.transformer.h[0].attn.c_attn(hidden)[..., -64:].unflatten(-1, (2, 32)).norm(dim=-1)
    expected = (values[:, 0] / values[:, 1:].mean(1)).mean()
    assert paper.value_norm(model, ids) == pytest.approx(float(expected), rel=1e-4)


def test_arms_differ_in_their_design_alone() -> None:
    plain = paper.recipe_of("softmax", 3).to_json()["fields"]
    for arm in list(paper.ARMS)[1:]:
        fields = paper.recipe_of(arm, 3).to_json()["fields"]
        assert {name for name in fields if fields[name] != plain[name]} == {"design"}


def test_a_check_measures_every_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = paper.recipe_of
    monkeypatch.setattr(
        paper, "recipe_of", lambda arm, seed, quick: replace(made(arm, seed, quick), steps=2, evaluate_every=2)
    )
    monkeypatch.setattr(paper, "TEXTS", 4)
    monkeypatch.setattr(paper, "STREAMED", 4)
    found = list(paper.check(Setting(seeds=(3,))))
    claims = {claim.name: claim for claim in paper.CARD.claims}
    assert {one.claim for one in found if isinstance(one, Measured | Deviation)} == claims.keys()
    for one in found:
        if isinstance(one, Measured):
            assert set(one.controls) == set(claims[one.claim].controls) and one.seed == 3
    (figure,) = [one for one in found if isinstance(one, Figure)]
    assert [row[0] for row in figure.rows] == list(paper.ARMS)


@pytest.mark.parametrize("rope", ["default", "dynamic"])
def test_a_users_model_is_streamed(tmp_path: Path, rope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer()), hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        rope_parameters={"rope_type": rope, "factor": 2.0, "rope_theta": 1e4},
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    monkeypatch.setattr(paper, "USERS_TOKENS", 40)
    file = tmp_path / "book.txt"
    file.write_text("the dog sees a cat . " * 20)
    found = list(paper.check(Setting(seeds=(0,), model=str(tmp_path), data=str(file))))
    measured = {one.claim: one for one in found if isinstance(one, Measured)}
    assert measured.keys() == {"eviction", "keep", "drain"}
    assert all(one.data == "book.txt" and one.value > 0 for one in measured.values())
    assert measured["eviction"].controls["keep"] == measured["keep"].value
    assert ["window", 10] in [list(row) for one in found if isinstance(one, Figure) for row in one.rows]
