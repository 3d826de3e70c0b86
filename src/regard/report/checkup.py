"""The doctor's cheap checks on a model that is about to be measured."""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from ..lens import Lens
from .data import Check
from .feed import Feed

BRIEF = ("listening", "reading", "row_sums", "future")
"""What says whether numbers can be trusted: a few passes over short inputs each."""
LONGEST = 1024  # tokens of an example with images: whole maps of it are made, in float64


def checkup(lens: Lens, items: Feed) -> list[Check]:
    """Run the checks on short inputs that are made up, and on the first example with images that is not too long.

    Of two findings of one check, the worse one stays.
    """
    worst: dict[str, Check] = {}
    for x in _given(items):
        for check in _asked(lens, x):
            known = worst.get(check.name)
            worst[check.name] = check if known is None else max(known, check, key=_badness)
    return list(worst.values())


def _given(items: Feed) -> Iterator[Mapping[str, Any] | None]:
    """Inputs to examine the model on; None stands for those that the doctor makes up."""
    if items.unit == "image":
        yield items.encode([0])
        return
    yield None
    seen = next((place for place, own in enumerate(items.pictures) if own), None)
    if seen is not None:
        x = items.encode([seen])
        if x.valid.shape[1] <= LONGEST:
            yield x


def _asked(lens: Lens, x: Mapping[str, Any] | None) -> list[Check]:
    try:
        found = lens.doctor(x, BRIEF).findings
    except ValueError as error:  # no short inputs are known for this model
        return [Check("the doctor", "not applicable", None, str(error))]
    return [
        Check(
            one.name,
            one.verdict,
            one.deviation if one.deviation is not None and isfinite(one.deviation) else None,
            one.sentence,
        )
        for one in found
    ]


def _badness(check: Check) -> tuple[int, float]:
    """What sorts findings: failed ones last, those that could not be asked first."""
    return ("not applicable", "ok", "failed").index(check.verdict), check.deviation or 0.0
