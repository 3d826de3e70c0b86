"""The claims of vision head reinforcement: heads that are planted are found, and its controls do what they say."""

from typing import Any

import pytest
import torch
from torch import Tensor

import regard.papers.vision_head_reinforcement as paper
from regard.edit.reinforce import ReinforceHeads
from regard.lens import attach
from regard.lens.vision_heads import choose, vision_heads
from regard.papers.cards import Setting
from regard.papers.cards.board import entries, named
from regard.training.recipes.bench_vlm import BenchVlm, answers, asked
from regard.worlds.patches import Patches

RECIPE = BenchVlm()
HEADS, WIDTH = 6, 10


def model_and_inputs() -> tuple[Any, dict[str, Tensor]]:
    torch.manual_seed(0)
    model: Any = RECIPE.model().eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(5.0 if weights.ndim > 1 else 1.0)
    return model, asked(RECIPE.shown(6, "contrary"))


@torch.no_grad()
def plant(model: Any, blind: int, colour: int) -> None:
    """Let one head of the first layer carry what only patches have, and another nothing of it: the rest sees by chance."""
    attention = model.model.layers[0].self_attn
    model.model.embed_tokens.weight[:, 0] = 0.0
    model.projector.weight[0].zero_()
    model.projector.bias[0] = 40.0
    rows = attention.v_proj.weight.unflatten(0, (HEADS, WIDTH))
    rows[:, :, 0] = 0.0
    rows[colour] = 0.0
    rows[colour, :, 0] = 5.0
    rows[blind] = 0.0


def test_the_method_is_exact() -> None:
    assert all(one.value <= 1e-5 for one in paper._exact())


@pytest.mark.parametrize(("blind", "colour"), [(0, 4), (5, 1)])
def test_a_planted_head_moves_most_and_one_that_sees_nothing_is_not_chosen(blind: int, colour: int) -> None:
    model, x = model_and_inputs()
    plant(model, blind, colour)
    found = vision_heads(attach(model, check=False), x, layers=(0,), outliers=False)
    assert bool((found.divergence[0].argmax(-1) == colour).all())
    assert bool((found.divergence[0, :, blind] == 0).all() and not found.chosen[0, :, blind].any())
    assert bool(found.chosen[0, :, colour].all())


def test_a_head_that_wakes_up_without_the_image_is_dropped() -> None:
    model, x = model_and_inputs()
    plant(model, blind=0, colour=4)
    attention = model.model.layers[0].self_attn
    with torch.no_grad():  # a head that carries only what the mark A has, and looks at it only where there is no patch
        model.model.embed_tokens.weight[:, 1] = 0.0
        model.model.embed_tokens.weight[3, 1] = 40.0
        model.projector.weight[1].zero_()
        model.projector.bias[1] = 0.0
        attention.v_proj.weight.unflatten(0, (HEADS, WIDTH))[4] = 0.0
        attention.v_proj.weight.unflatten(0, (HEADS, WIDTH))[4, :, 1] = 20.0
    lens = attach(model, check=False)
    found, plain = vision_heads(lens, x, layers=(0,)), vision_heads(lens, x, layers=(0,), outliers=False)
    assert bool(found.activity[0, :, 4].gt(found.activity[0].mean(-1)).all())
    assert bool((found.divergence[0].argmax(-1) == 4).all() and plain.chosen[0, :, 4].all())
    assert not found.chosen[0, :, 4].any()


def test_controls_double_as_many_heads_and_other_ones() -> None:
    model, x = model_and_inputs()
    lens = attach(model, check=False)
    generator = torch.Generator().manual_seed(0)
    drawn = paper.at_random(lens, x, paper.LAYERS, generator)
    again = paper.at_random(lens, x, paper.LAYERS, generator)
    low = paper.at_the_other_end(lens, x, paper.LAYERS)
    measured = vision_heads(lens, x, layers=paper.LAYERS, alpha=1.0)
    top = choose(measured.divergence, measured.activity)
    for edit in (drawn, again, low):
        per_layer = edit.chosen.unflatten(1, (3, HEADS)).sum(-1)
        assert edit.alpha == 2.0 and bool((per_layer == 3).all())
    assert not torch.equal(drawn.chosen, again.chosen)
    assert not torch.equal(drawn.chosen[0], drawn.chosen[1])
    assert torch.equal(low.chosen.unflatten(1, (3, HEADS)).transpose(0, 1), ~top)


def test_every_arm_answers_as_its_edit_does() -> None:
    model, x = model_and_inputs()
    lens, made = attach(model, check=False), RECIPE.shown(6, "contrary")
    said = {name: answers(model, made, around=around) for name, around in paper.arms(lens, paper.LAYERS, 0).items()}
    with torch.no_grad():
        assert torch.equal(said.pop("base"), model(**x).logits[:, -1])
        for name, alpha in (("top", 2.0), ("halved", 0.5)):
            found = vision_heads(lens, x, layers=paper.LAYERS, alpha=alpha)
            pairs = [(layer, head) for layer in paper.LAYERS for head in range(HEADS)]
            edit = ReinforceHeads(pairs, found.chosen.transpose(0, 1).flatten(1), alpha)
            with lens.edit(edit):
                assert torch.equal(said[name], model(**x).logits[:, -1])
    assert len({tuple(one.flatten().tolist()) for one in said.values()}) == 4


def test_watching_changes_nothing_and_tells_of_each_answer() -> None:
    model, x = model_and_inputs()
    lens, relied = attach(model, check=False), list[Tensor]()
    with torch.no_grad():
        plain = model(**x).logits[:, -1]
    watched = answers(model, RECIPE.shown(6, "contrary"), 4, paper.watched(lens, paper.LAYERS, relied))
    torch.testing.assert_close(watched, plain, atol=1e-5, rtol=1e-5)
    expected = vision_heads(lens, x, layers=paper.LAYERS, alpha=1.0).divergence.sort(-1).values[..., -4:].sum((0, 2))
    assert [len(one) for one in relied] == [4, 2]
    torch.testing.assert_close(torch.cat(relied), expected, atol=1e-5, rtol=1e-5)


def test_auroc_counts_pairs_of_a_group() -> None:
    right = torch.tensor([True, True, False, False, True])
    values = torch.tensor([3.0, 1.0, 2.0, 1.0, 0.0])
    # 3 > 2, 3 > 1, 1 < 2, 1 = 1, 0 < 2, 0 < 1
    assert paper.auroc(values, right) == pytest.approx(2.5 / 6)
    groups = torch.tensor([0, 1, 0, 1, 1])
    assert paper.auroc(values, right, groups) == pytest.approx(1.5 / 3)


def test_what_only_repeats_the_probability_tells_nothing_within_its_deciles() -> None:
    generator = torch.Generator().manual_seed(0)
    sure = torch.rand(4000, generator=generator)
    right = torch.rand(4000, generator=generator) < sure
    other = torch.rand(4000, generator=generator) + 0.5 * right
    groups = paper.deciles(sure)
    assert groups.bincount().tolist() == [400] * 10
    assert paper.auroc(sure, right) > 0.8
    assert paper.auroc(sure.mul(10).floor(), right, groups) == pytest.approx(0.5, abs=0.02)
    assert paper.auroc(other, right, groups) > 0.7


def test_text_of_the_diluted_bench_is_longer_than_what_was_trained_on() -> None:
    lengths = [Patches(distractors=pairs).sample(2, 0, image=True).texts.ids.shape[1] for pairs in ((0, 0), (16, 16))]
    assert lengths[1] - lengths[0] == 32


def test_the_board_has_it_and_its_trials_differ() -> None:
    (entry,) = [one for one in entries(named("hallucination")) if one.name == "vision-head-reinforcement"]
    model, x = model_and_inputs()
    lens, said = attach(model, check=False), []
    for trial in entry.trials:
        with entry.method(lens, x, trial, 0), torch.no_grad():
            said.append(model(**x).logits[:, -1])
    assert all(bool((one - said[0]).abs().max() > 1e-3) for one in said[1:])


def test_a_users_model_needs_a_file_of_questions() -> None:
    assert paper.CARD.check is not None
    with pytest.raises(ValueError, match="give --data a file of questions"):
        list(paper.CARD.check(Setting(seeds=(0,), model="nowhere")))
