"""`import regard` is light, and what it promises is there."""

import subprocess
import sys

import pytest

import regard

HEAVY = {"diffusers", "jinja2", "matplotlib", "rich", "transformers", "typer"}
PUBLIC = {"attach", "Distance", "Entropy", "Mass", "Received", "SinkMass", "SinkRate"}
PUBLIC |= {"Redistribute", "ScaleHeads", "ZeroHeads"}


def imported(statement: str) -> set[str]:
    """The top-level modules that are loaded after a statement in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(subprocess.run([sys.executable, "-c", code], check=True, text=True, capture_output=True).stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import regard",
        "import regard; dir(regard)",
        "import regard.core",
        "from regard import Redistribute, SinkMass",
    ],
)
def test_importing_loads_nothing_heavy(statement: str) -> None:
    assert not imported(statement) & HEAVY


def test_heavy_modules_are_seen_where_they_are_loaded() -> None:
    assert "typer" in imported("import regard.cli")


def test_every_public_name_is_there() -> None:
    assert set(regard.__all__) >= PUBLIC
    assert set(dir(regard)) >= set(regard.__all__)
    for name in regard.__all__:
        getattr(regard, name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        regard.no_such_name  # noqa: B018
