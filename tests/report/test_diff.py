"""What differs between two scans, and its page."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic import language_model, part

from regard.report.data import Part, to_array, to_table
from regard.report.diff import compare, shared_parts
from regard.report.diff_page import findings, page


def changed(one: Part, row: int, head: int, by: float) -> Part:
    """The part with one head's sink mass moved."""
    mass = to_array(one.statistics["sink_mass"].mean)
    mass[row, head] += by
    moved = replace(one.statistics["sink_mass"], mean=to_table(mass))
    return replace(one, statistics=one.statistics | {"sink_mass": moved})


def test_the_changed_head_comes_first_with_its_interval() -> None:
    before = part(4, 3, 20)
    one = compare(before, changed(before, 2, 1, -0.2), "sink_mass")
    first = one.changes[0]
    assert (first.layer, first.head) == (2, 1) and first.difference == pytest.approx(-0.2)
    assert first.clear and first.interval is not None and first.interval[0] < -0.2 < first.interval[1]
    assert not any(change.clear for change in one.changes[1:])
    assert np.count_nonzero(one.difference) == 1


def test_the_interval_is_welchs() -> None:
    from scipy import stats

    before = part(1, 1, 20)
    after = changed(before, 0, 0, 0.1)
    change = compare(before, after, "sink_mass").changes[0]
    (mean,), (std,) = (
        to_array(table)[0] for table in (before.statistics["sink_mass"].mean, before.statistics["sink_mass"].std)
    )
    n = before.statistics["sink_mass"].texts
    exact = stats.ttest_ind_from_stats(mean + 0.1, std, n, mean, std, n, equal_var=False)
    freedom = 2 * (n - 1)
    half = stats.t.ppf(0.975, freedom) * std * np.sqrt(2 / n)
    assert change.interval == pytest.approx((0.1 - half, 0.1 + half), abs=2e-4)
    assert (exact.pvalue < 0.05) == change.clear


def test_few_texts_have_no_interval_and_no_clear_change() -> None:
    before = part(2, 2, 20, texts=3)
    one = compare(before, changed(before, 0, 0, 0.3), "sink_mass")
    assert one.changes[0].interval is None and not one.changes[0].clear
    (finding,) = findings([one], 0, ("a", "b"), 3)
    assert "1 of 4 heads have changed" in finding.sentence and finding.interval is None


def test_nothing_changed_is_no_finding() -> None:
    before = part(2, 2, 20)
    assert findings([compare(before, before, name) for name in ("sink_mass", "entropy")], 0, ("a", "b"), 12) == []


def test_the_page_says_what_changed_and_escapes_names() -> None:
    before = language_model()
    after = replace(before, parts=[changed(before.parts[0], 1, 0, 0.15), *before.parts[1:]])
    html = page(before, after, ("plain", "<b>edited")).html()
    assert "most of all" in html and "L1H0" in html and "&lt;b&gt;edited" in html and "<b>edited" not in html
    assert "+0.150" in html


def test_models_of_other_shapes_are_refused() -> None:
    before = language_model()
    other = replace(before, parts=[part(3, 5, 20)])
    assert shared_parts(before, other) == []
    with pytest.raises(ValueError, match="no head has its counterpart"):
        page(before, other, ("a", "b"))
