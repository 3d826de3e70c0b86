"""Parts of the report that stand alone: intervals, readings, tokens, words, and writing files."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

from regard.report import words
from regard.report.files import check_writable, write_atomic
from regard.report.intervals import interval, t_quantile
from regard.report.reading import reading
from regard.report.tables import longest_run
from regard.report.tokens import name, pieces


@pytest.mark.parametrize(
    ("members", "total", "told"),
    [
        ([1, 2, 3], 6, "layers 2 to 4 of 6 (L1 to L3)"),
        ([2], 6, "layer 3 of 6 (L2)"),
        ([0, 1], 2, "all 2 layers (L0 to L1)"),
        ([0], 1, "layer 1 of 1 (L0)"),
    ],
)
def test_layers_in_words(members: list[int], total: int, told: str) -> None:
    assert words.layers(members, total) == told


def test_longest_run() -> None:
    assert longest_run(np.array([True, False, True, True, False, True, True])) == [2, 3]
    assert longest_run(np.array([False, False])) == []


def test_intervals_are_students() -> None:
    for freedom, exact in [(7, 2.364624), (11, 2.200985), (30, 2.042272), (1000, 1.962339)]:
        assert t_quantile(freedom) == pytest.approx(exact, abs=1e-3)
    low, high = interval(1.0, np.array([0.5, 0.5]), 12) or (0, 0)
    assert high - low == pytest.approx(2 * 2.200985 * 0.5 / math.sqrt(12), abs=1e-3)
    assert interval(1.0, 0.5, 7) is None


def test_the_way_of_reading_is_told_from_what_is_received() -> None:
    weights = np.random.default_rng(0).random((2, 9, 9))
    both = (weights / weights.sum(-1, keepdims=True)).mean(1)
    lower = np.tril(weights)
    lower /= lower.sum(-1, keepdims=True)
    assert reading([both]) == "both"
    assert reading([lower.sum(1) / np.arange(9, 0, -1)]) == "back"
    band = np.triu(lower, -2)
    seen = np.minimum(np.arange(9, 0, -1), 3)
    assert reading([(band / band.sum(-1, keepdims=True)).sum(1) / seen]) == "other"


def test_tokens_are_readable() -> None:
    assert [(p.text, p.joined) for p in pieces(["[CLS]", "play", "##ing", "##"])] == [
        ("[CLS]", False), ("play", False), ("ing", True), ("##", True),
    ]  # fmt: skip
    assert [(p.text, p.joined) for p in pieces(["The", "Ġcat", "s", "Ċ", "ĠcafÃ©", "<|endoftext|>"])] == [
        ("The", False), ("cat", False), ("s", True), ("⏎", True), ("café", False), ("<|endoftext|>", True),
    ]  # fmt: skip
    assert [(p.text, p.joined) for p in pieces(["<s>", "▁the", "re", "<0x0A>", "▁"])] == [
        ("<s>", False), ("the", False), ("re", True), ("⏎", True), ("␣", False),
    ]  # fmt: skip
    assert name("Ġthe") == name("▁the") == "`the`" and name("a`b") == "`aˋb`" and name("##ing") == "`##ing`"


def test_writing_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "r.html"
    write_atomic(target, "old")

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", broken)
        with pytest.raises(KeyboardInterrupt):
            write_atomic(target, "new")
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]
    write_atomic(target, "new")
    assert target.read_text() == "new" and target.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_a_link_is_written_through_and_a_device_is_not_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(target)
    write_atomic(link, "text")
    assert link.is_symlink() and target.read_text() == "text"
    check_writable(Path("/dev/null"))
    write_atomic(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


def test_unwritable_paths_are_told_and_leave_nothing(tmp_path: Path) -> None:
    for path, reason in [(tmp_path, "is a folder"), (tmp_path / "no" / "r.html", "does not exist")]:
        with pytest.raises(OSError, match=reason):
            check_writable(path)
    check_writable(tmp_path / "r.html")
    assert not list(tmp_path.iterdir())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
