"""No class of diffusers is left out of the table of families, and what is said of one is of one that there is."""

from breadth import diffusers_models
from breadth.diffusers_cases import CASES, NO_ATTENTION
from breadth.diffusers_special import SPECIAL


def test_every_class_has_a_case_or_a_reason() -> None:
    classes = set(diffusers_models.families())
    assert classes == CASES.keys() | NO_ATTENTION.keys()
    assert not CASES.keys() & NO_ATTENTION.keys() and CASES.keys() >= SPECIAL.keys()
