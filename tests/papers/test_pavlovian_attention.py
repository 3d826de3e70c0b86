"""The claims of pavlovian attention: bare memories show what is known of them, and trained ones are asked right."""

from dataclasses import replace

import pytest
import torch

import regard.papers.pavlovian_attention as paper
from regard.papers.cards import Measured
from regard.training.recipes.bench_recall import BenchRecall, recall


def test_the_equations_are_exact() -> None:
    tolerance = {claim.name: claim.tolerance for claim in paper.CLAIMS}
    for one in paper.exact():
        assert abs(one.value) <= tolerance[one.claim], one


def test_laws_come_out_and_what_is_said_in_general_does_not() -> None:
    found = {one.claim: one for one in paper._laws(0, 10) if isinstance(one, Measured)}
    assert found["crosstalk"].value < 0.02 and found["redundancy"].value < 0.02
    assert found["average-capacity"].value < 0.1 and found["guaranteed-capacity"].value < 0.1
    assert found["degrades"].value < 0.01
    one = found["delta-in-general"]
    assert one.value == pytest.approx(0.674, abs=0.02) and one.controls["hebb"] == pytest.approx(0.709, abs=0.02)
    assert found["shared-keys"].controls["own"] > 0.1


def test_a_chain_is_right_as_often_as_its_reads_together() -> None:
    chained, single = paper.chain(torch.Generator().manual_seed(0), 2000)
    assert 0.5 < single < 0.95 and chained == pytest.approx(single**paper.DEPTH, abs=0.03)


def test_stimuli_are_orthonormal() -> None:
    shown = paper.stimuli(0, 3, 16, 6)
    rows = torch.cat([shown.a[:, None], shown.b[:, None], shown.c[:, None], shown.other_keys], 1)
    torch.testing.assert_close(rows @ rows.mT, torch.eye(9).expand(3, -1, -1), atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("reading", ["softmax", "hebb", "delta"])
def test_models_answer_by_what_was_shown_before(reading: str) -> None:
    recipe = BenchRecall(reading=reading, layers=2, mlp=True)  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = recipe.model().eval()
    batch = recipe.draw(4, 0, 6)
    answers = model(batch["keys"], batch["values"], batch["keys"][:, 0])
    assert answers.shape == (4, 16) and torch.equal(
        answers, model.per_layer(batch["keys"], batch["values"], batch["keys"][:, 0])[-1]
    )
    other = batch["values"].clone()
    other[0, 2] += 1
    moved = (model(batch["keys"], other, batch["keys"][:, 0]) - answers).abs().amax(-1)
    assert float(moved[0]) > 1e-4 and float(moved[1:].max()) == 0


def test_a_bench_model_learns_and_recall_counts_it() -> None:
    from regard.training import fit

    recipe = replace(BenchRecall(cosine=0.0, reading="delta", pairs=4), steps=120)
    torch.manual_seed(0)
    model = recipe.model()
    before = recall(model, recipe.draw(256, 9, 4))
    fit(model, recipe.batch, recipe.steps, loss=recipe.loss, optimiser=recipe.optimiser)
    assert before < 0.65 < 0.75 < recall(model, recipe.draw(256, 9, 4))
