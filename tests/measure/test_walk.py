"""Stacked attention as a walk: its closed forms, its limits, and profiles over positions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from regard.measure.profiles import spearman, thirds, wasserstein
from regard.measure.walk import (
    centres,
    decay_peak,
    decay_profile,
    hops,
    rollout,
    rotary_profile,
    survival_bound,
)

CAUSAL = torch.ones(16, 16, dtype=torch.bool).tril()


def attention(scores: Tensor, mask: Tensor) -> Tensor:
    return scores.double().masked_fill(~mask, -torch.inf).softmax(-1)


def uniform(n: int) -> Tensor:
    return attention(torch.zeros(n, n), torch.ones(n, n, dtype=torch.bool).tril())


@pytest.mark.parametrize("slope", [0.1, 0.223, 0.5])
@pytest.mark.parametrize("deep", [1, 3, 7, 15])
def test_decay_is_a_negative_binomial_far_from_the_left_edge(slope: float, deep: int) -> None:
    back = torch.arange(400)[:, None] - torch.arange(400)
    one = attention(-slope * back.double(), back >= 0)
    walk = rollout([one] * (deep + 1), 1.0)[-1].flip(0)
    assert float((walk - decay_profile(deep + 1, slope, 400)).abs().sum() / 2) <= 1.1e-5
    assert int(walk.argmax()) == math.floor(deep / (math.exp(slope) - 1)) == int(decay_peak(deep + 1, slope))


def test_uniform_causal_attention_has_the_values_of_the_specification() -> None:
    one = uniform(64)
    alone = [float(rollout([one] * layers, 1.0)[-1, 0]) for layers in (2, 6, 12, 24)]
    assert alone == pytest.approx([sum(1 / k for k in range(1, 65)) / 64, 0.663, 0.987, 1.0], abs=5e-4)
    fading = [float(rollout([one] * n, [1 / (t + 1) for t in range(n)])[-1, 0]) for n in (6, 24, 96)]
    assert fading == pytest.approx([0.142, 0.322, 0.508], abs=5e-4)
    assert [float(rollout([one] * n, 0.5)[-1, 0]) for n in (6, 24)] == pytest.approx([0.217, 0.967], abs=5e-4)


def test_repeated_random_attention_loses_the_rest_exponentially() -> None:
    for seed in range(4):
        one = attention(torch.randn(16, 16, generator=torch.Generator().manual_seed(seed)), CAUSAL)
        slowest = math.log(float(one.diagonal()[1:].max()))  # the second eigenvalue of a triangular matrix
        rest = [math.log(float(rollout([one] * n, 1.0)[-1, 1:].sum())) for n in (100, 150)]
        assert slowest < 0 and (rest[1] - rest[0]) / 50 == pytest.approx(slowest, rel=0.02)


def test_a_prefix_shares_the_mass_and_a_narrow_window_is_slow() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(200, 16, 16, generator=generator)
    prefix = CAUSAL | (torch.arange(16) < 3)
    last = rollout([attention(one, prefix) for one in scores], 1.0)[-1]
    assert float(last[:3].sum()) == pytest.approx(1.0, abs=1e-6) and float(last[:3].min()) > 0.01
    mass = [float(rollout([attention(one, CAUSAL.triu(1 - w)) for one in scores[:40]], 1.0)[-1, 0]) for w in (3, 6, 16)]
    assert mass[0] < mass[1] < mass[2]


@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(1, 8))
def test_the_bound_of_the_theorem_holds(seed: int, n: int, layers: int) -> None:
    mask = torch.ones(n, n, dtype=torch.bool).tril()
    scores = 2 * torch.randn(layers, n, n, generator=torch.Generator().manual_seed(seed))
    weights = [attention(one, mask) for one in scores]
    least = min(float(one[mask].min()) for one in weights)
    left = rollout(weights, 1.0)
    for token in range(n):
        assert float(left[:, token:].sum(1).max()) <= survival_bound(least, token, layers) + 1e-12


@given(st.integers(0, 10_000), st.integers(1, 7), st.floats(0.05, 1.0))
def test_a_graph_says_where_walks_can_go(seed: int, n: int, density: float) -> None:
    mask = torch.rand(n, n, generator=torch.Generator().manual_seed(seed)) < density
    mask |= torch.eye(n, dtype=torch.bool)  # where a token sees itself, longer walks reach what shorter ones do
    step = mask.double()
    powers = [torch.linalg.matrix_power(step, k) > 0 for k in range(n + 1)]
    everywhere = powers[n].all(0)
    assert torch.equal(centres(mask), everywhere)
    if bool(everywhere.any()):
        assert hops(mask) == next(k for k in range(n + 1) if bool(powers[k][:, everywhere].all()))
    else:
        with pytest.raises(ValueError, match="no centre node"):
            hops(mask)


def test_centres_of_the_masks_of_the_paper() -> None:
    assert centres(CAUSAL).nonzero().tolist() == [[0]] and hops(CAUSAL) == 1
    window = CAUSAL.triu(-4)  # 5 tokens
    assert centres(window).nonzero().tolist() == [[0]] and hops(window) == math.ceil(15 / 4)
    assert centres(CAUSAL | (torch.arange(16) < 3)).nonzero().flatten().tolist() == [0, 1, 2]


def test_the_rotary_profile_moves_out_with_depth_and_in_with_the_angle() -> None:
    peaks = [int(rotary_profile(layers, 1e-3, 500).argmax()) for layers in (1, 2, 4, 8)]
    assert peaks[0] == 0 and peaks == sorted(set(peaks))
    assert int(rotary_profile(4, 1e-2, 500).argmax()) < peaks[2]
    x = torch.arange(6.0)
    paths = torch.tensor([math.comb(3 + int(k), int(k)) for k in x], dtype=torch.float64)
    expected = paths * (-0.1 * x**2).exp()
    torch.testing.assert_close(rotary_profile(4, 0.1, 6), expected / expected.sum())


def test_a_rollout_needs_its_shares() -> None:
    weights = [uniform(5)] * 2
    for shares in ([1.0], [0.5, 1.2]):
        with pytest.raises(ValueError, match="a share in"):
            rollout(weights, shares)
    assert torch.equal(rollout(weights, 0.0), torch.eye(5, dtype=torch.float64))
    with pytest.raises(ValueError, match="cannot each have"):
        survival_bound(0.5, 3, 2)
    for wrong in (decay_profile, rotary_profile):
        with pytest.raises(ValueError, match="above 0"):
            wrong(2, 0.0, 5)


def test_profiles_compare_as_scipys_do() -> None:
    generator = torch.Generator().manual_seed(0)
    for n in (3, 8, 31):
        a, b = (torch.randint(1, 9, (n,), generator=generator).double() for _ in range(2))  # with ties
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, nan_ok=True)
        place = torch.arange(n)
        assert wasserstein(a, b) == pytest.approx(stats.wasserstein_distance(place, place, a, b))
    assert math.isnan(spearman(torch.ones(4), torch.arange(4.0)))


def test_thirds_cover_all_tokens() -> None:
    assert thirds(torch.arange(7.0)) == (3.0, 7.0, 11.0)
    with pytest.raises(ValueError, match="no thirds"):
        thirds(torch.ones(2))
