"""A sample of the table of families: what it says of them is so, and the page is the table."""

import importlib

import pytest
from breadth import table
from breadth.examine import examined
from breadth.family import Family
from breadth.sample import SAMPLE

ROWS = table.read()


@pytest.mark.parametrize("family", SAMPLE, ids=lambda family: family.name)
def test_a_family_is_what_its_row_says(family: Family) -> None:
    found, told = examined(family), ROWS[family.library, family.name]
    kept = ("class", "parameters", "tiers", "verdict", "failing")
    assert {key: found.get(key) for key in kept} == {key: told.get(key) for key in kept}, found.get("reason")


def test_the_sample_has_sixty_families_and_every_tier() -> None:
    assert len(SAMPLE) == len(set(SAMPLE)) >= 60
    tiers = {tier for family in SAMPLE for tier in ROWS[family.library, family.name].get("tiers", {})}
    assert tiers == {"interface", "mha", "sdpa", "softmax"}


@pytest.mark.parametrize("library", ["transformers", "diffusers"])
def test_every_family_has_a_row_and_one_that_is_not_exact_its_reason(library: str) -> None:
    families = set(importlib.import_module(f"breadth.{library}_models").families())
    rows = {name: row for (owner, name), row in ROWS.items() if owner == library}
    assert families == set(rows)
    assert all(row.get("reason") for row in rows.values() if row["verdict"] != "exact")


def test_the_page_is_the_table() -> None:
    assert table.PAGE.read_text(encoding="utf-8") == table.page(ROWS.values())
