"""Secondary sinks: that what is planted is what is measured, and that a user's model is mapped."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from regard import attach
from regard.lens.mlp_outputs import add_to_token
from regard.papers import secondary_sinks as paper
from regard.papers.cards import Deviation, Figure, Measured, Setting
from regard.training.recipes.bench_levels import BenchLevels
from regard.worlds.little_english import tokenizer


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of its own, and models of two steps."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(paper, "BenchLevels", lambda seed: BenchLevels(seed=seed, evaluate_every=200))
    monkeypatch.setattr(paper, "replace", lambda recipe, steps: replace(recipe, steps=2, evaluate_every=2))
    monkeypatch.setattr(paper, "TEXTS", 4)


def bench() -> Any:
    torch.manual_seed(0)
    return BenchLevels().model().eval()


def test_the_first_attention_of_the_bench_writes_nothing_and_does_not_learn_to() -> None:
    model = bench()
    ids = BenchLevels().language.sample(3, 0).ids
    assert not attach(model).cache({"input_ids": ids}, ["attn_out.0"])["attn_out.0"].any()
    assert not any(p.requires_grad for p in model.transformer.h[0].attn.c_proj.parameters())
    with pytest.raises(ValueError, match="learned"):
        BenchLevels(positions="rotary").model()


def test_a_planted_token_is_measured_where_it_is() -> None:
    model, ids = bench(), BenchLevels().language.sample(3, 0).ids
    lens, x = attach(model), {"input_ids": ids}
    vector = 50 * torch.nn.functional.normalize(lens.cache(x, ["resid_post.0"])["resid_post.0"][0, 0], dim=0)
    weights = lens.weights(x, 1)[:, :, paper.TOKEN :]
    found = paper.plant(lens, x, lambda y, positions: y)
    assert found.weight == pytest.approx(float(weights[..., paper.TOKEN].mean()), abs=1e-5)
    assert found.bos == pytest.approx(float(weights[..., 0].mean()), abs=1e-5)
    assert found.lifetime == 0.0
    assert paper.plant(lens, x, add_to_token(vector, paper.TOKEN)).lifetime == 2.0


def test_ranks() -> None:
    assert paper._spearman((0.0, 1.0, 2.0), [0.1, 0.2, 0.5]) == pytest.approx(1.0)
    assert paper._spearman((0.0, 1.0, 2.0), [0.5, 0.2, 0.1]) == pytest.approx(-1.0)
    assert paper._spearman((0.0, 1.0, 2.0, 4.0), [0.1, 0.3, 0.2, 0.5]) == pytest.approx(0.8)


def test_what_is_found_otherwise_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert paper._wrong() == 0
    monkeypatch.setattr(paper, "find_sinks", lambda *given: [])
    assert paper._wrong() == 3


@pytest.mark.usefixtures("tiny")
def test_a_check_measures_every_claim() -> None:
    found = list(paper.check(Setting(seeds=(3,), quick=True)))
    measured = [one for one in found if isinstance(one, Measured)]
    claims = {claim.name: claim for claim in paper.CARD.claims}
    assert {one.claim for one in measured} == claims.keys() - {"levels"}
    assert [one.claim for one in found if isinstance(one, Deviation)] == ["levels"]
    for one in measured:
        assert set(one.controls) == set(claims[one.claim].controls) and one.seed == 3
    (figure,) = [one for one in found if isinstance(one, Figure)]
    assert len(figure.rows) == 2 * 8 + 1 and all(len(row) == len(figure.columns) for row in figure.rows)


def test_a_users_model_is_mapped_on_its_own_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer()), hidden_size=32, intermediate_size=32, num_hidden_layers=8, num_attention_heads=2
    )
    model: Any = LlamaForCausalLM(config)
    tokenizer().save_pretrained(tmp_path)
    names = tokenizer().convert_ids_to_tokens([7, 9, 20, 21])
    file = tmp_path / "aime24.txt"
    file.write_text("".join(f"{names[0]} {names[2]} {names[3]} {last} {names[2]}\n" for last in names[1:3]))
    first = tokenizer()(names[0])["input_ids"][0]
    seen: list[torch.Tensor] = []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    u = torch.nn.functional.normalize(torch.randn(32), dim=0)
    for layer, token, size in ((1, first, 300.0), (3, 9, 150.0)):

        def write(module: Any, args: Any, out: torch.Tensor, token: int = token, size: float = size) -> torch.Tensor:
            return out + size * (seen[-1] == token)[..., None] * u

        model.model.layers[layer].mlp.register_forward_hook(write)
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", lambda path, dtype: model)
    found = list(paper.check(Setting(seeds=(0,), model=str(tmp_path), data=str(file))))
    share, start = [one for one in found if isinstance(one, Measured)]
    assert (share.claim, share.value, share.data) == ("exist", 0.5, paper.AIME)
    assert (start.claim, start.value) == ("levels", 3.0)
    assert [one.name for one in found if isinstance(one, Figure)] == ["sinks", "levels"]
    plain = [one for one in paper.check(Setting(seeds=(0,), model=str(tmp_path))) if isinstance(one, Measured)]
    assert plain[0].data == paper.SAMPLE
