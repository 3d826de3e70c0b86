"""Marks are judged from rows, and each of them can come out either way."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from regard.papers.cards import (
    Card,
    Claim,
    Deviation,
    Equation,
    Measured,
    Mechanism,
    Own,
    Reproduction,
    card,
    judge,
)
from regard.papers.cards.paired import sign_test, spread, t_quantile

OWN = Own(model="org/Big-7B", data="the Pile", command="run", expected=90.0, within=2.0)
CLAIM = Claim(
    name="rises",
    statement="It rises.",
    reported="90",
    metric="rate",
    why="a reason",
    measure="difference",
    threshold=1.0,
    against="base",
    controls={"base": "softmax", "random": "random heads"},
    bench="toy",
    equation="the formula",
    tolerance=1e-6,
    own=OWN,
)


def rows(values: list[float], base: float = 0.0, random: float = 0.0, **others: Any) -> list[Measured]:
    """One row for each value, seeds from 0 on."""
    named = {"claim": "rises", "model": "toy"} | others
    return [
        Measured(seed=seed, value=value, controls={"base": base, "random": random}, **named)
        for seed, value in enumerate(values)
    ]


def mark(claim: Claim, measured: list[Measured]) -> Mechanism:
    """The mechanism mark of the bench model."""
    return judge(claim, measured).seen[0].mark


def test_an_effect_beyond_the_threshold_is_seen() -> None:
    (seen,) = judge(CLAIM, rows([3.0, 3.1, 2.9, 3.2, 3.0])).seen
    assert seen.mark is Mechanism.seen and seen.failed == () and str(seen) == "seen in toy"
    assert seen.spread is not None and seen.spread.low > 1 and seen.sign == 1 / 32
    assert seen.spread.detectable > seen.spread.high - seen.spread.mean


@pytest.mark.parametrize(
    ("values", "random", "reason"),
    [
        ([1.1, 0.9, 1.2, 0.8, 1.3], 0.0, "interval"),  # too close to the threshold for its spread
        ([3.0, 3.1, 2.9, 3.2, 3.0], 3.0, "random does as well"),  # a control has the same
        ([9.0, 9.0, 9.0, 9.0, 0.9], 0.0, "sign test"),  # one seed of five is on the other side
        ([3.0, 3.1, math.nan, 3.2, 3.0], 0.0, "finite"),
        ([3.0, 3.1, math.inf, 3.2, 3.0], 0.0, "finite"),
    ],
)
def test_what_is_not_seen_says_why(values: list[float], random: float, reason: str) -> None:
    (seen,) = judge(CLAIM, rows(values, random=random)).seen
    assert seen.mark is Mechanism.not_seen and any(reason in one for one in seen.failed)


def test_below_is_the_other_side() -> None:
    below = replace(CLAIM, direction="below", threshold=-1.0)
    falling = [-3.0, -3.1, -2.9, -3.2, -3.0]
    assert mark(below, rows(falling)) is Mechanism.seen
    assert mark(below, rows([-value for value in falling])) is Mechanism.not_seen
    assert mark(below, rows(falling, random=-3.0)) is Mechanism.not_seen


def test_ratios_are_taken_over_pairs() -> None:
    ratio = replace(CLAIM, measure="ratio", threshold=2.0, controls={"base": "softmax"})
    paired = [
        Measured("rises", "toy", seed, 3.0 * base, {"base": base})
        for seed, base in enumerate((0.1, 1.0, 10.0, 100.0, 5.0))
    ]
    (seen,) = judge(ratio, paired).seen
    assert seen.mark is Mechanism.seen and seen.spread is not None
    assert seen.spread.low == pytest.approx(3.0) and seen.spread.high == pytest.approx(3.0)
    with pytest.raises(ValueError, match="no ratio of two positive numbers"):
        judge(ratio, rows([1.0] * 5, base=0.0))


def test_what_it_is_paired_with_need_not_be_beaten_but_by_the_threshold() -> None:
    close = replace(CLAIM, direction="below", threshold=0.06, controls={"base": "softmax"})
    assert mark(close, rows([2.02, 2.01, 2.03, 2.02, 2.02], base=2.0)) is Mechanism.seen


def test_too_few_seeds_decide_nothing() -> None:
    assert mark(CLAIM, rows([3.0, 3.1, 2.9, 3.2])) is Mechanism.too_few
    with pytest.raises(ValueError, match="3 seeds decide nothing"):
        replace(CLAIM, seeds=3)


def test_a_claim_that_cannot_fail_is_refused() -> None:
    for wrong, reason in (
        ({"threshold": math.nan}, "decides nothing"),
        ({"against": ""}, "against a control"),
        ({"against": "nobody"}, "none of its controls"),
        ({"bench": "", "equation": ""}, "nothing can fail"),
    ):
        with pytest.raises(ValueError, match=reason):
            replace(CLAIM, **wrong)


def test_equations_are_exact_or_not() -> None:
    def equation(*values: float) -> Equation:
        return judge(CLAIM, [], [Deviation("rises", "case", value) for value in values]).equation

    assert equation() is Equation.not_run
    assert equation(1e-9, 1e-7) is Equation.exact
    assert equation(1e-9, -1e-3) is equation(1e-9, math.nan) is Equation.not_exact
    assert judge(replace(CLAIM, equation=""), []).equation is Equation.none


@pytest.mark.parametrize(
    ("value", "model", "data", "expected"),
    [
        (91.0, "org/Big-7B", "the Pile", Reproduction.reproduced),
        (91.0, "/models/big-7b/", "the Pile", Reproduction.reproduced),
        (80.0, "org/Big-7B", "the Pile", Reproduction.not_reproduced),
        (math.nan, "org/Big-7B", "the Pile", Reproduction.not_reproduced),
        (91.0, "org/Big-7B", "other texts", Reproduction.not_run),
        (91.0, "org/Small-1B", "the Pile", Reproduction.not_run),
        (91.0, "toy", "", Reproduction.not_run),
    ],
)
def test_only_the_papers_own_model_and_data_reproduce(
    value: float, model: str, data: str, expected: Reproduction
) -> None:
    judged = judge(CLAIM, rows([value], model=model, data=data))
    assert judged.reproduction is expected
    if expected is Reproduction.not_run and model != "toy":
        assert [str(seen) for seen in judged.seen] == ["not run in toy", f"too few seeds in {model}"]


def test_no_mark_says_more_than_it_may() -> None:
    assert {*Equation, *Mechanism, *Reproduction} == {
        "exact", "not exact", "seen", "not seen", "too few seeds", "reproduced", "not reproduced", "not run", "none",
    }  # fmt: skip


def test_rows_that_cannot_be_judged_are_refused() -> None:
    with pytest.raises(ValueError, match="a seed was measured twice"):
        judge(CLAIM, rows([3.0]) * 2)
    with pytest.raises(ValueError, match="no control random"):
        judge(CLAIM, [Measured("rises", "toy", 0, 3.0, {"base": 0.0})])
    other = judge(CLAIM, rows([3.0] * 5, claim="other"))
    assert other.seen[0].mark is Mechanism.not_run


def test_a_card_without_a_check_has_no_claims() -> None:
    with pytest.raises(ValueError, match="come together"):
        replace(card("a-star"), claims=(CLAIM,))
    with pytest.raises(ValueError, match="no family 'birds'"):
        Card(**{**vars(card("a-star")), "family": "birds"})


def test_intervals_hold_what_they_promise() -> None:
    tables = {(0.975, 1): 12.706, (0.975, 4): 2.7764, (0.975, 9): 2.2622, (0.8, 4): 0.9410, (0.8, 2): 1.0607}
    for (probability, freedom), value in tables.items():
        assert t_quantile(probability, freedom) == pytest.approx(value, abs=1e-3)
    made = np.random.default_rng(0).normal(size=(3000, 5))
    covered = [found.low < 0 < found.high for found in map(spread, made.tolist())]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.012)  # three standard errors of 3000 trials
    with pytest.raises(ValueError, match="1 runs have no interval"):
        spread([1.0])


def test_the_detectable_effect_is_found_four_times_of_five() -> None:
    one = np.array([-1.0, 1.0, 0.0, 2.0, -2.0])
    effect = spread((one / one.std(ddof=1)).tolist()).detectable  # of runs whose standard deviation is 1
    made = np.random.default_rng(0).normal(effect, 1.0, size=(3000, 5))
    found = [one.low > 0 for one in map(spread, made.tolist())]
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


def test_a_handful_of_coins() -> None:
    assert (sign_test(3, 3), sign_test(5, 5), sign_test(4, 5), sign_test(0, 5)) == (1 / 8, 1 / 32, 6 / 32, 1.0)
