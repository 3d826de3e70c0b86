"""Repetition at random distances, and its control."""

import pytest
import torch

from regard.worlds import Batch, Induction

LANGUAGE = Induction()
MANY = LANGUAGE.sample(4000, 0)
CONTROL = LANGUAGE.control(4000, 0)


def by_induction(batch: Batch) -> torch.Tensor:
    """What came behind the last earlier token like each one, [batch, token - 1], -1 where there is none."""
    ids = batch.ids
    length = ids.shape[1]
    same = (ids[:, :-1, None] == ids[:, None, :]) & torch.ones(length, length).tril(-1).bool()[:-1]
    place = torch.where(same, torch.arange(length), -1).amax(2)
    return torch.where(place >= 0, ids.gather(1, (place + 1).clamp(max=length - 1)), -1)


def test_induction_tells_all_that_is_scored() -> None:
    assert (by_induction(MANY) == MANY.ids[:, 1:])[MANY.scored[:, 1:]].all()
    assert (by_induction(CONTROL) == -1).all()


def test_no_fixed_distance_does() -> None:
    right = []
    for offset in range(1, 32):
        same = torch.zeros_like(MANY.scored)
        same[:, offset:] = MANY.ids[:, offset:] == MANY.ids[:, :-offset]
        right.append((same & MANY.scored).sum() / MANY.scored.sum())
    # A period S has 31 - 2S + 1 gaps, all equally likely, and S - 1 scored tokens; the distances 13 to 18 are of all periods.
    best = sum((s - 1) / (32 - 2 * s) for s in range(6, 14)) / sum(s - 1 for s in range(6, 14))
    assert max(right) == pytest.approx(best, abs=0.02) and best < 0.1


@pytest.mark.parametrize("what", ["period", "gap", "prefix", "offset"])
def test_lengths_are_random(what: str) -> None:
    assert len(MANY.truth[what].unique()) >= 8
    if what == "period":
        assert MANY.truth[what].unique().tolist() == list(range(6, 14))
        assert torch.equal(MANY.roles["first"].sum(1), MANY.truth[what])


def test_distances_differ_within_a_period() -> None:
    for period in range(6, 13):
        assert len(MANY.truth["offset"][MANY.truth["period"] == period].unique()) > 3


def test_control_has_the_same_texts_but_for_the_repetition() -> None:
    second = MANY.roles["second"]
    assert torch.equal(CONTROL.ids[~second], MANY.ids[~second])
    assert not (CONTROL.ids == MANY.ids)[second].any()
    assert torch.equal(CONTROL.truth["source"], MANY.truth["source"]) and not CONTROL.scored.any()
    assert (CONTROL.ids.sort(1).values.diff(dim=1) > 0).all()  # nothing comes twice


def test_control_has_the_same_marginals() -> None:
    # Each symbol is equally likely at each place: 4,000 texts give 129 of each, with a standard deviation of 11.2.
    expected = 4000 / 31
    for batch in (MANY, CONTROL):
        counts = torch.stack([batch.ids[:, t].bincount(minlength=32)[1:] for t in range(1, 32)])
        assert (counts - expected).abs().max() < 5 * (expected * 30 / 31) ** 0.5


@pytest.mark.parametrize("wrong", [{"periods": (6, 16)}, {"periods": (1, 4)}, {"periods": (9, 8)}, {"symbols": 30}])
def test_what_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"fit|symbols"):
        Induction(**wrong)
