"""The claims on position bias: their bench does what it says, and their equations can fail."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from regard.lens import attach
from regard.measure.walk import rollout
from regard.papers import position_bias as paper
from regard.papers.cards import Deviation, Figure, Measured, Setting
from regard.papers.position_bias import ARMS, CARD, LLAMA, STACK, _equations, centre_scores
from regard.training import trained_model
from regard.training.attention_stack import AttentionStack, StackShape, stack_mask
from regard.training.recipes.bench_position import BenchPosition, gap
from regard.worlds.bursts import Bursts

BY_NAME = {claim.name: claim for claim in CARD.claims}


def stack(**given: Any) -> AttentionStack:
    torch.manual_seed(0)
    return AttentionStack(StackShape(**{"layers": 3, "dim": 64, "outputs": 32, **given})).eval()


def test_the_equations_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(_equations())
    assert all(abs(one.value) <= BY_NAME[one.claim].tolerance for one in found)
    assert {one.claim for one in found} == {claim.name for claim in CARD.claims if claim.equation}
    monkeypatch.setattr(paper, "survival_bound", lambda floor, token, layers: 0.9 * (1 - token * floor) ** layers)
    monkeypatch.setattr(paper, "decay_profile", lambda layers, slope, n: torch.ones(n).double() / n)
    broken = {one.claim for one in _equations() if abs(one.value) > BY_NAME[one.claim].tolerance}
    assert broken == {"bound", "decay-law"}


def test_each_claim_is_measured_once_a_seed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(paper, "ARMS", {name: replace(arm, batch_size=4) for name, arm in ARMS.items()})
    monkeypatch.setattr(paper, "trained_model", lambda recipe, device: trained_model(replace(recipe, steps=2), device))
    found = list(paper.check(Setting(seeds=(3,), quick=True)))
    rows = [one for one in found if isinstance(one, Measured)]
    assert sorted(one.claim for one in rows) == sorted(claim.name for claim in CARD.claims if claim.bench)
    assert {one.model for one in rows} == {STACK, LLAMA} and {one.seed for one in rows} == {3}
    (figure,) = (one for one in found if isinstance(one, Figure))
    assert len(figure.rows) == 6 and any(isinstance(one, Deviation) for one in found)


def test_a_users_model_is_profiled(tmp_path: Path) -> None:
    from regard.training.recipes.tiny_lm import RECIPE

    tokenizer = RECIPE.tokenizer()
    assert tokenizer is not None
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = list(paper.check(Setting(seeds=(0, 1), model=str(tmp_path))))
    rows = [one for one in found if isinstance(one, Measured)]
    assert len(found) == len(rows) == 4 and {one.claim for one in rows} == {"collapse", "influence"}
    assert {one.data for one in rows} == {BY_NAME["influence"].own.data}  # type: ignore[union-attr]


@pytest.mark.parametrize("mask", ["causal", "full", "prefix", "window"])
@pytest.mark.parametrize("positions", ["none", "decay", "rotary", "sinusoidal"])
def test_a_stack_is_its_equation(mask: Any, positions: Any) -> None:
    model, x = stack(mask=mask, positions=positions, layers=1), torch.randn(2, 9, 64)
    layer: Any = model.layers[0]
    place = torch.arange(9.0)
    angle = place[:, None] * 10_000 ** (-torch.arange(0, 64, 2) / 64)
    given = x + torch.cat([angle.sin(), angle.cos()], -1) if positions == "sinusoidal" else x
    q, k = given @ layer.query.weight.T, given @ layer.key.weight.T
    if positions == "rotary":
        turn = torch.polar(torch.ones_like(angle), angle)
        q, k = (torch.complex(*t.chunk(2, -1)) * turn for t in (q, k))
        scores = (q @ k.conj().transpose(1, 2)).real / 8
    else:
        scores = q @ k.transpose(1, 2) / 8
    if positions == "decay":
        scores = scores + torch.log(torch.tensor(0.8)) * (place[:, None] - place).abs()
    hidden = scores.masked_fill(~stack_mask(model.shape, 9), -torch.inf).softmax(-1) @ given @ layer.value.weight.T
    with torch.no_grad():
        torch.testing.assert_close(model(x), model.head(hidden[:, -1]), atol=1e-5, rtol=1e-4)
        weights = attach(model, check=False).weights({"inputs_embeds": x}, 0)[:, 0]
    expected = scores.masked_fill(~stack_mask(model.shape, 9), -torch.inf).softmax(-1)
    torch.testing.assert_close(weights, expected, atol=1e-5, rtol=1e-4)


def test_a_stack_of_attention_alone_is_its_rollout() -> None:
    model, x = stack(), torch.randn(1, 9, 64)
    with torch.no_grad():
        for layer in model.layers:
            layer.value.weight.copy_(torch.eye(64))  # type: ignore[operator,union-attr]
        maps = [attach(model, check=False).weights({"inputs_embeds": x}, layer)[0, 0] for layer in range(3)]
        mixed = rollout(maps, 1.0)[-1].float() @ x[0]
        torch.testing.assert_close(model(x)[0], model.head(mixed), atol=1e-5, rtol=1e-4)
        kept = stack(residual=True)
        for layer in kept.layers:
            layer.value.weight.zero_()  # type: ignore[operator,union-attr]
        torch.testing.assert_close(kept(x), kept.head(x[:, -1]))


def test_rivals_differ_in_their_places_alone() -> None:
    data = Bursts()
    shots = data.rivals(500, 2, 6, seed=0)
    assert torch.equal(shots.vectors[:, 4], shots.vectors[:, 12]) and shots.other is not None
    assert bool((shots.label != shots.other).all())
    labels = torch.from_numpy(data._known[2]).float()
    assert torch.allclose(shots.vectors[:, 5], labels[shots.label]) and torch.allclose(
        shots.vectors[:, 13], labels[shots.other]
    )
    assert abs(float(shots.vectors[:, ::2].norm(dim=-1).mean()) - 1) < 0.05  # items have norm 1


def test_bursts_ask_for_what_was_shown_and_prefer_the_slots_that_they_are_told() -> None:
    data = Bursts(noise=0.0)
    shots = data.sample(400, seed=0)
    items, question = shots.vectors[:, :16:2], shots.vectors[:, -1:]
    same = torch.isclose(items, question, atol=1e-6).all(-1)
    assert bool((same.sum(1) >= 4).all())
    labels = torch.from_numpy(data._known[2]).float()
    shown = shots.vectors[:, 1::2][same].reshape(-1, 64)
    assert torch.allclose(shown, labels[shots.label].repeat_interleave(same.sum(1), 0))
    edge = Bursts(noise=0.0, asked=(0,)).sample(100, seed=0).vectors
    assert torch.allclose(edge[:, 0], edge[:, -1], atol=1e-6)
    again = data.sample(400, seed=0).vectors
    assert torch.equal(again, shots.vectors) and not torch.equal(data.sample(400, seed=0, step=1).vectors, again)
    for wrong in ({"slots": 7}, {"labels": 4}, {"asked": (8,)}):
        with pytest.raises(ValueError):
            Bursts(**wrong)


class Answering(torch.nn.Module):
    """Gives the label that stands behind the item of a slot."""

    def __init__(self, slot: int) -> None:
        super().__init__()
        self.slot = slot
        self.labels = torch.nn.Parameter(torch.from_numpy(Bursts()._known[2]).float())

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        return vectors[:, 2 * self.slot + 1] @ self.labels.T / self.labels.norm(dim=-1) ** 2


def test_a_gap_is_1_for_the_first_and_minus_1_for_the_last() -> None:
    # The label's own vector has the largest product of all, nearly always: 32 random ones in 64 dimensions.
    assert gap(Answering(0), Bursts(), 0, 7, 1000) > 0.9
    assert gap(Answering(7), Bursts(), 0, 7, 1000) < -0.9
    assert abs(gap(Answering(3), Bursts(), 0, 7, 1000)) < 0.05


def test_the_centre_scores_are_of_the_prefix() -> None:
    model = stack(layers=1, mask="prefix")
    with torch.no_grad():
        model.layers[0].query.weight.zero_()  # type: ignore[operator,union-attr]
    least, other = centre_scores(model, Bursts())
    seen = torch.ones(17, 17).tril()
    seen[:, :3] = 1
    expected = (seen / seen.sum(1, keepdim=True)).sum(0) / seen.sum(0)
    assert least == pytest.approx(float(expected[:3].min()), abs=1e-6)
    assert other == pytest.approx(float(expected[3:14].max()), abs=1e-6)


def test_a_trained_stack_comes_back(tmp_path: Path) -> None:
    recipe = BenchPosition(steps=1)
    model = stack(layers=2)
    recipe.save(model, tmp_path)
    x = recipe.data.sample(2, 0).vectors
    assert torch.equal(recipe.load(tmp_path)(x), model(x))
