"""The claims of gated attention: what they measure is what they say, and a check gives all of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from regard.design.gate import Gate
from regard.papers import gated_attention as paper
from regard.papers.cards import Deviation, Measured, Setting
from regard.training.recipes.bench_gate import copy_loss
from regard.worlds.little_english import tokenizer

LANGUAGE = paper.RECIPE.language


def bench(gate: Gate | None = None, first: float = 0.0) -> Any:
    """A bench model with random weights, whose head looks at the first token the more the larger `first` is."""
    torch.manual_seed(0)
    model: Any = replace(paper.RECIPE, gate=gate).model().eval()
    attention = model.model.layers[0].self_attn
    with torch.no_grad():
        embedding = model.model.embed_tokens.weight.normal_(std=1.0)
        for weight in (attention.v_proj.weight, attention.o_proj.weight):
            weight.normal_(std=0.5)
        attention.q_proj.weight.zero_()
        attention.k_proj.weight.zero_()
        if first:  # the last dimension is 1 in all tokens, and rotates slowest; BOS alone has a key there
            embedding[:, -1], embedding[:, -2] = 3.0, 0.0
            embedding[0, -2] = first
            attention.q_proj.weight[-1, -1] = 3.0
            attention.k_proj.weight[-1, -2] = 3.0
    return model


def test_a_gate_that_was_just_put_in_changes_nothing() -> None:
    assert paper._insertion() == 0.0


def test_the_first_tokens_weight_is_that_of_the_eager_maps() -> None:
    model, texts = bench(first=3.0), paper._texts()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        (weights,) = model(input_ids=texts.ids, output_attentions=True).attentions
    idle = [
        float(weights[row, 0, query, 0])
        for row in range(len(texts))
        for query in range(5, texts.ids.shape[1])
        if not texts.roles["trigger"][row, query]
    ]
    found = paper._first(model)
    assert found == pytest.approx(sum(idle) / len(idle), abs=1e-5)
    assert found > 2 * paper._first(bench())


def test_selectivity_tells_triggers_from_other_tokens() -> None:
    model = bench(Gate(kind="headwise", preserving=False))
    trigger, other, mean = paper._selectivity(model)
    assert 0 < trigger < 1 and 0 < other < 1
    assert min(trigger, other) < mean < max(trigger, other)


def test_a_clamped_gate_is_a_scaled_head_and_the_clamp_comes_off() -> None:
    model, plain = bench(Gate(kind="headwise", preserving=False)), bench()
    with torch.no_grad():
        plain.load_state_dict({name: value for name, value in model.state_dict().items() if name in plain.state_dict()})
        plain.model.layers[0].self_attn.o_proj.weight.mul_(0.3)
    before = copy_loss(model, LANGUAGE)
    assert paper._clamped(model, 0.3) == pytest.approx(copy_loss(plain, LANGUAGE), abs=1e-5)
    assert copy_loss(model, LANGUAGE) == before != pytest.approx(copy_loss(plain, LANGUAGE), abs=1e-4)


def test_a_check_measures_every_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(paper, "RECIPE", replace(paper.RECIPE, steps=2, evaluate_every=2, checkpoint_every=2))
    found = list(paper.check(Setting(seeds=(3,))))
    claims = {one.claim for one in found if isinstance(one, Measured | Deviation)}
    assert claims == {claim.name for claim in paper.CARD.claims}
    for one in found:
        if isinstance(one, Measured):
            (claim,) = [claim for claim in paper.CARD.claims if claim.name == one.claim]
            assert set(one.controls) == set(claim.controls) and one.seed == 3


def test_a_users_model_is_measured_as_its_eager_maps_say(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer()),
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        initializer_range=0.3,
    )
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    (first,) = [one for one in paper.check(Setting(seeds=(0,), model=str(tmp_path))) if isinstance(one, Measured)]
    text = Path(paper.__file__).parents[1].joinpath("report", "sample.txt").read_text(encoding="utf-8")
    model.set_attn_implementation("eager")
    with torch.no_grad():
        maps = model(input_ids=tokenizer()(text, return_tensors="pt").input_ids[:, :1000], output_attentions=True)
    expected = torch.stack(maps.attentions)[..., 0].mean()
    assert (first.claim, first.model) == ("sink-free", str(tmp_path))
    assert first.value == pytest.approx(float(expected), abs=1e-5)
