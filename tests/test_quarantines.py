"""Every skip in the tests is in the ledger, and the ledger lists nothing else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SKIPS = {"skip", "skipif", "xfail", "importorskip"}
SKIPS |= {"skipTest", "SkipTest", "skipIf", "skipUnless", "expectedFailure"}
SKIPS |= {"collect_ignore", "collect_ignore_glob"}


def skips(node: ast.AST, place: str) -> Iterator[str]:
    """Where a syntax tree skips: in a function's body or marks `place::function`, at module level `place`."""
    match node:
        case ast.ImportFrom(names=names):
            used = {alias.name for alias in names}
        case ast.Attribute(attr=name) | ast.Name(id=name, ctx=ast.Store()):
            used = {name}
        case _:
            used = set()
    if used & SKIPS:
        yield place
    for child in ast.iter_child_nodes(node):
        named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        yield from skips(child, f"{place}::{child.name}" if named else place)


def listed(ledger: str) -> list[str]:
    """The places that a ledger lists, in its order."""
    return re.findall(r"^\| `([^`]+)` \|", ledger, re.MULTILINE)


def test_every_skip_is_listed_and_every_line_is_a_skip() -> None:
    found = set()
    for path in TESTS.rglob("*.py"):
        found |= set(skips(ast.parse(path.read_text(encoding="utf-8")), path.relative_to(TESTS).as_posix()))
    ledger = listed((TESTS / "QUARANTINES.md").read_text(encoding="utf-8"))
    assert ledger == sorted(found), "tests/QUARANTINES.md and the skips in tests/ differ (sorted, one line each)"


@pytest.mark.parametrize(
    ("source", "places"),
    [
        ("@pytest.mark.skip(reason='x')\ndef test_a(): pass", ["t.py::test_a"]),
        ("@pytest.mark.parametrize('a', [pytest.param(1, marks=pytest.mark.xfail)])\ndef test_a(a): pass",
         ["t.py::test_a"]),
        ("class TestA:\n    def test_b(self):\n        if True: pytest.skip('x')", ["t.py::TestA::test_b"]),
        ("diffusers = pytest.importorskip('diffusers')", ["t.py"]),
        ("from pytest import skip as s", ["t.py"]),
        ("gpu = pytest.mark.skipif(True, reason='x')\n@gpu\ndef test_a(): pass", ["t.py"]),
        ("collect_ignore = ['test_a.py']", ["t.py"]),
        ("def test_a():\n    assert 'skip'  # pytest.skip", []),
    ],
)  # fmt: skip
def test_skips_of_every_kind_are_found(source: str, places: list[str]) -> None:
    assert list(skips(ast.parse(source), "t.py")) == places


def test_a_line_of_the_ledger_is_read() -> None:
    assert listed("| where | a | b |\n|---|---|---|\n| `t.py::test_a` | no GPU | a GPU |\n") == ["t.py::test_a"]
