"""The claims of visual attention redistribution: their controls do what they say."""

from typing import Any

import pytest
import torch

from regard.core.terms import Rows
from regard.edit.visual_sinks import RedistributeVisualSinks
from regard.lens import attach
from regard.papers.cards import Setting
from regard.papers.cards.board import entries, named
from regard.papers.visual_attention_redistribution import CARD, Masked, Misplaced, _exact
from regard.training.recipes.bench_vlm import BenchVlm, asked
from regard.worlds.patches import Patches

RECIPE = BenchVlm(pictures=Patches(sinks=4))


def model_and_inputs() -> tuple[Any, dict[str, torch.Tensor], RedistributeVisualSinks]:
    torch.manual_seed(0)
    model: Any = RECIPE.model().eval()
    with torch.no_grad():  # what only constant patches have writes one dimension
        model.projector.weight[5, -1] = 30.0
    sinks = RedistributeVisualSinks((5,), layers=(1, 2), tau=None, min_image_mass=0.0)
    return model, asked(RECIPE.shown(6, "contrary")), sinks


def rows(edit: Any) -> torch.Tensor:
    """Return the weights of the second layer, [batch, head, query, key]."""
    model, x, _ = model_and_inputs()
    lens = attach(model, check=False)
    found: list[torch.Tensor] = []

    def probe(call: Any, patchwork: Any) -> None:
        if call.site.layer == 1:
            found.append(patchwork.answer([Rows(lambda weights, block: weights)])[0])

    with lens.edit(*([edit] if edit else [])), lens._probing(probe), torch.no_grad():
        model(**x)
    return found[0]


def test_the_formula_is_exact() -> None:
    assert all(one.value <= 1e-5 for one in _exact())


def test_masking_hides_the_constant_patches_or_as_many_others() -> None:
    _, _, sinks = model_and_inputs()
    hidden, drawn = rows(Masked(sinks))[:, :, -1], rows(Masked(sinks, seed=1))[:, :, -1]
    assert bool((hidden[..., 10:14] == 0).all() and (hidden[..., 1:10] > 0).all())
    assert bool(((drawn[..., 1:14] == 0).sum(-1) == 4).all())
    assert not torch.equal(hidden == 0, drawn == 0)


def test_random_heads_move_as_much_as_gated_ones_unless_they_have_less() -> None:
    _, _, sinks = model_and_inputs()
    plain, gated, drawn = rows(None), rows(sinks), rows(Misplaced(sinks, 1))
    moved = [(plain - one)[..., 10:14].sum(-1).sum(1)[:, -1] for one in (gated, drawn)]
    torch.testing.assert_close(moved[0], moved[1], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(drawn.sum(-1), torch.ones_like(drawn.sum(-1)), atol=1e-6, rtol=0)


def test_the_board_has_it_beside_its_baselines() -> None:
    names = {entry.name: entry.role for entry in entries(named("hallucination"))}
    assert names["visual-attention-redistribution"] == "method" and names["base"] == "base"
    assert names["uniform bias on image tokens"] == names["random heads"] == "baseline"


def test_a_users_model_needs_a_file_of_questions() -> None:
    assert CARD.check is not None
    with pytest.raises(ValueError, match="give --data a file of questions"):
        list(CARD.check(Setting(seeds=(0,), model="nowhere")))
