"""Filters and statistics of cross-attention against sums over entries and known cases."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from regard.measure.cross_sinks import (
    agreement,
    aligned,
    class_mass,
    content_only,
    entropies,
    filtered,
    flatness,
    mean_distribution,
    monotonicity,
    null_score,
    shuffled,
    spike_flatness,
)


def drawn(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return weights [2, 2, 3, 4, 7], steps and classes; the second text has 5 tokens and 3 steps."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(0, 5, (2, 7), generator=generator)
    classes[:, 1], classes[1, 5:] = 0, -1
    scores = torch.randn(2, 2, 3, 4, 7, generator=generator)
    weights = scores.masked_fill((classes < 0)[:, None, None, None], -torch.inf).softmax(-1)
    return weights, torch.tensor([[True] * 4, [True] * 3 + [False]]), classes


@given(st.integers(0, 10_000))
def test_filters_are_sums_over_entries(seed: int) -> None:
    weights, steps, classes = drawn(seed)
    for text in range(2):
        rows = weights[text, :, :, steps[text]].double().reshape(-1, 7)
        mean = rows.mean(0)
        torch.testing.assert_close(mean_distribution(weights, steps)[text], mean)
        content = (classes[text] == 0).double()
        torch.testing.assert_close(
            filtered(weights, steps, classes).distribution[text], mean * content / (mean @ content), atol=1e-12, rtol=0
        )
        least = 0.15
        kept = [row * content / (row @ content) for row in rows if float(row @ content) > least]
        found = filtered(weights, steps, classes, "row-first", least)
        if kept:
            torch.testing.assert_close(found.distribution[text], torch.stack(kept).mean(0), atol=1e-12, rtol=0)
        else:
            assert bool(found.distribution[text].isnan().all())
        assert float(found.dropped[text]) == pytest.approx(1 - len(kept) / len(rows))
    once = content_only(weights, classes)
    torch.testing.assert_close(once.sum(-1), torch.ones_like(once.sum(-1)))
    torch.testing.assert_close(content_only(once, classes), once)
    assert bool((once[..., :][(classes != 0)[:, None, None, None].expand_as(once)] == 0).all())
    mass = class_mass(mean_distribution(weights, steps), classes, 5)
    torch.testing.assert_close(mass.sum(-1), torch.ones(2).double(), atol=1e-6, rtol=0)
    everything = torch.where(classes >= 0, 0, -1)
    torch.testing.assert_close(content_only(weights, everything), weights.double(), atol=1e-6, rtol=0)


def test_the_orders_differ_and_are_named() -> None:
    weights, steps, classes = drawn(0)
    mean, row = filtered(weights, steps, classes, "mean-first"), filtered(weights, steps, classes, "row-first")
    assert not torch.allclose(mean.distribution, row.distribution, atol=1e-3)
    with pytest.raises(ValueError, match="mean-first or row-first"):
        filtered(weights, steps, classes, "both")  # type: ignore[arg-type]


@pytest.mark.parametrize(("share", "tokens"), [(0.83, 20), (0.5, 7), (1.0, 4), (0.25, 4)])
def test_taking_a_spike_out_flattens_by_arithmetic(share: float, tokens: int) -> None:
    a = torch.full((1, tokens), (1 - share) / (tokens - 1), dtype=torch.float64)
    a[0, 2] = share
    every = torch.ones(1, tokens, dtype=torch.bool)
    assert float(flatness(a, every)) == pytest.approx(spike_flatness(share, tokens), abs=1e-12)
    if share < 1:
        classes = torch.zeros(1, tokens, dtype=torch.long)
        classes[0, 2] = 1
        assert float(flatness(content_only(a, classes), classes == 0)) == pytest.approx(1.0)
    entropy, relative = entropies(torch.full((1, tokens), 1 / tokens).double(), every)
    assert float(entropy) == pytest.approx(math.log(tokens)) and float(relative) == pytest.approx(1.0)


def test_the_example_of_the_specification() -> None:
    assert spike_flatness(0.83, 20) == pytest.approx(0.27, abs=5e-3)
    for share, tokens in ((1.1, 5), (0.5, 1)):
        with pytest.raises(ValueError, match="a spike has"):
            spike_flatness(share, tokens)


def test_agreement_is_a_cosine() -> None:
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]])
    assert float(agreement(one, one)) == 1.0 and float(agreement(one, other)) == pytest.approx(0.5**0.5)


def test_monotone_and_reversed_alignments_are_told_by_content_alone() -> None:
    classes = torch.tensor([[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 1]])
    weights = torch.zeros(2, 1, 1, 5, 6)
    for step, (ahead, back) in enumerate(zip((1, 2, 3, 4), (4, 3, 2, 1), strict=True)):
        weights[0, 0, 0, step, ahead], weights[1, 0, 0, step, back] = 0.2, 0.2
    weights[:, 0, 0, :, 5] += 0.8  # a sink at the end, and one step that has nothing else
    steps = torch.ones(2, 5, dtype=torch.bool)
    assert monotonicity(weights, steps, classes).tolist() == pytest.approx([1.0, -1.0])


def test_alignment_counts_aligned_steps_and_content() -> None:
    classes = torch.tensor([[0, 0, 0, 1]])
    rows = torch.tensor([[[0.1, 0.2, 0.0, 0.7], [0.5, 0.1, 0.2, 0.2], [0.0, 0.1, 0.1, 0.8]]])
    gold = torch.tensor([[[False, True, False, False], [False, False, True, False], [False] * 4]])
    assert aligned(rows, gold) == 0.0 and aligned(rows, gold, classes) == 0.5
    assert math.isnan(aligned(rows, gold & False))


@given(st.integers(0, 10_000))
def test_shuffling_keeps_what_is_on_content_and_off_it(seed: int) -> None:
    weights, _, classes = drawn(seed)
    rows = weights[:, 0, 0]
    found = shuffled(rows, classes, seed)
    off = (classes != 0)[:, None].expand_as(rows)
    assert torch.equal(found[off], rows[off])
    torch.testing.assert_close(found.masked_fill(off, 0).sort(-1).values, rows.masked_fill(off, 0).sort(-1).values)


def test_a_score_is_high_for_a_real_alignment_and_low_for_none() -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.zeros(40, 6, dtype=torch.long)
    place = torch.randint(0, 6, (40, 5), generator=generator)
    gold = torch.nn.functional.one_hot(place, 6).bool()
    real = gold.double() + 0.1 * torch.rand(40, 5, 6, generator=generator)
    assert null_score(real, gold, classes) > 10
    assert abs(null_score(torch.rand(40, 5, 6, generator=generator), gold, classes)) < 4
    assert null_score(real, gold, torch.ones(40, 6, dtype=torch.long)) != null_score(real, gold, classes)
