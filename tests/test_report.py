"""The report: its findings, its page, its JSON, and that what it says is what was measured."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from regard.report import words
from regard.report.data import SCHEMA, Model, Row, Scan, Statistic, Text, to_array, to_table
from regard.report.figures import heatmap
from regard.report.files import check_writable, write_atomic
from regard.report.findings import find
from regard.report.intervals import interval, t_quantile
from regard.report.page import Report, prose
from regard.report.reading import even_share, reading
from regard.report.scan_page import page
from regard.report.tables import longest_run
from regard.report.tokens import name, pieces

NASTY = "<script>alert(1)</script>"
WORDS = ["[CLS]", "the", "cat", "sat", "on", "a", "mat", "."]


def synthetic(by_layer: list[float], texts: int = 12, tokens: list[str] | None = None, model: str = "toy") -> Scan:
    """A scan of 3 heads per layer with these mean masses on the first token; the rest is spread evenly."""
    tokens = tokens or WORDS
    mass = np.array(by_layer)[:, None] + np.array([-0.05, 0.0, 0.05])
    spread = np.full_like(mass, 0.02)
    rest = (1 - np.array(by_layer)) / max(len(tokens) - 1, 1)
    received = np.concatenate([np.array(by_layer)[:, None], np.tile(rest[:, None], len(tokens) - 1)], axis=1)
    ladder = np.arange(mass.size, dtype=float).reshape(mass.shape)

    def table(values: np.ndarray) -> Statistic:
        return Statistic(to_table(values), to_table(spread), texts)

    scan = Scan(
        model=Model(model, None, "ToyModel", "float32", "cpu", 1000),
        versions={"regard": "0"},
        settings={"max tokens": 512},
        reading="both",
        rows=[Row(f"layer.{layer}", layer, "self", "text", 3, "interface") for layer in range(len(by_layer))],
        special=["[CLS]"],
        texts=[Text(tokens, 0, to_table(received)) for _ in range(texts)],
        statistics={
            "sink_mass": table(mass),
            "sink_rate": table((mass > 0.3).astype(float)),
            "entropy": table(ladder / 10),
            "distance": table(ladder / 4),
        },
        findings=[],
        deviation=1e-7,
        seconds=1.0,
    )
    return replace(scan, findings=find(scan))


def test_a_sink_is_told_with_its_layers_and_numbers() -> None:
    finding = synthetic([0.1, 0.45, 0.52, 0.49, 0.50, 0.2]).findings[0]
    assert finding.key == "sink"
    assert finding.sentence == (
        "`[CLS]`, the first token of every text, takes 0.45 to 0.52 of all attention in layers 2 to 5 of 6 (L1 to L4)."
    )
    assert finding.number == pytest.approx(0.49)
    assert finding.interval is not None and finding.interval[0] < 0.49 < finding.interval[1]
    assert "12 of 12 heads" in finding.detail and "0.10 to 0.20" in finding.detail and "ε = 0.3" in finding.detail


def test_layers_above_the_threshold_but_weaker_are_counted_apart() -> None:
    sentence = synthetic([0.1, 0.8, 0.9, 0.8, 0.4, 0.1]).findings[0].sentence
    assert "0.80 to 0.90" in sentence and "layers 2 to 4 of 6 (L1 to L3), and more than 0.3 in 4 of 6" in sentence


def test_no_sink_says_so_with_the_numbers() -> None:
    finding = synthetic([0.05, 0.2, 0.1]).findings[0]
    assert finding.title == "No sink on the first token"
    assert "0.05 to 0.20, most in layer 2 of 3 (L1)" in finding.sentence
    assert "0 of 9 heads" in finding.detail and "Redistribute" not in finding.code


@pytest.mark.parametrize(("texts", "scope"), [(1, "1 text only"), (3, "3 texts only"), (8, "8 texts")])
def test_few_texts_give_no_interval_and_generalise_nothing(texts: int, scope: str) -> None:
    scan = synthetic([0.1, 0.5], texts=texts)
    html = page(scan).html()
    assert words.scope(texts) == scope and scope in html
    for finding in scan.findings:
        assert (finding.interval is None) == (texts < 8)
        assert finding.sentence.startswith("In th") == (texts < 8)


def test_different_first_tokens_are_named() -> None:
    scan = synthetic([0.5], texts=2)
    scan = replace(scan, texts=[scan.texts[0], replace(scan.texts[1], tokens=["Ġthe", *WORDS[1:]])])
    finding = find(scan)[0]
    assert "the first token (2 different ones in 2 texts: `[CLS]`, `the`)" in finding.sentence
    assert finding.meaning.startswith("It is a word")


def test_too_short_texts_have_no_sink_rate() -> None:
    scan = synthetic([0.5], tokens=["[CLS]", "a"])
    nowhere = replace(scan.statistics["sink_rate"], mean=[[None, None, None]])
    assert "No sink rate" in find(replace(scan, statistics=scan.statistics | {"sink_rate": nowhere}))[0].detail


def test_a_single_token_has_no_other_token() -> None:
    assert [finding.key for finding in synthetic([1.0], tokens=["[CLS]"]).findings] == [
        "sink",
        "sharpness",
        "reach",
    ]


def test_the_strongest_other_token_is_found() -> None:
    scan = synthetic([0.3])
    received = to_array(scan.texts[0].received)
    received[0, -1] += 0.2
    scan = replace(scan, texts=[replace(text, received=to_table(received)) for text in scan.texts])
    finding = find(scan)[-1]
    assert finding.key == "other_token" and "`.` receives most in 12 of 12 texts: 0.3" in finding.sentence


def test_absent_heads_are_left_out() -> None:
    scan = synthetic([0.5, 0.5])
    tables = {
        key: replace(table, mean=[[*table.mean[0][:2], None], table.mean[1]]) for key, table in scan.statistics.items()
    }
    assert "5 of 5 heads" in find(replace(scan, statistics=tables))[0].detail


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
    assert even_share("back", 3) == pytest.approx([11 / 18, 5 / 12, 1 / 3])


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


def test_everything_from_users_is_escaped() -> None:
    scan = synthetic([0.5, 0.4], tokens=[NASTY, *WORDS[1:6], NASTY, '" onmouseover="x'], model=NASTY)
    scan = replace(scan, versions={NASTY: NASTY}, rows=[replace(row, tier=NASTY) for row in scan.rows])
    scan = replace(scan, model=replace(scan.model, architecture=NASTY, revision=NASTY, dtype=NASTY, device=NASTY))
    html = page(scan).html()
    assert "alert(1)" in html and NASTY not in html and '" onmouseover' not in html
    assert prose(f"`{NASTY}` & {NASTY}`").count("&lt;script&gt;") == 2


def test_the_page_is_whole_and_needs_no_network() -> None:
    html = page(synthetic([0.1, 0.5, 0.4])).html()
    assert "http://" not in html.replace("http://www.w3.org/", "") and "https://" not in html
    assert html.count('<svg class="map"') == 4 and "prefers-color-scheme" in html
    for said in (
        "0.40 to 0.50",
        "layers 2 to 3 of 3 (L1 to L2)",
        "spot check passed",
        "Attention is not importance",
    ):
        assert said in html
    ids = [part.split('"')[0] for part in html.split(' id="')[1:]]
    assert len(ids) == len(set(ids))


def test_a_failed_spot_check_is_shown() -> None:
    for deviation in (0.5, math.nan):
        scan = replace(synthetic([0.5]), deviation=deviation)
        assert not scan.trusted and "FAILED" in page(scan).html()


def test_the_first_token_does_not_set_the_colours() -> None:
    report = Report("x")
    report.add_tokens([Text(["a", "b", "c"], 2, [[0.9, 0.05, 0.1]])], ["layer 1 (L0)"])
    html = report.html()
    assert [part.split('"')[0] for part in html.split("--a:")[1:]] == ["1.0", "0.5", "1.0"]
    assert "2 more tokens were cut" in html and "[[[0.9, 0.05, 0.1], [0.9, 0.05, 0.1]]]" in html


def test_figures_are_the_same_each_time_and_stay_small() -> None:
    values = np.random.default_rng(1).random((24, 32))
    first, again = (heatmap(values, list(range(24)), label="x y", unit="u") for _ in range(2))
    assert first == again and len(first) < 400_000 and "currentColor" in first
    assert ">head<" in first and ">layer<" in first
    large = heatmap(np.random.default_rng(1).random((100, 100)), list(range(100)), label="x", unit="u")
    assert len(large) < 200_000


def test_json_round_trip() -> None:
    scan = synthetic([0.1, 0.5], texts=9)
    values = json.loads(json.dumps(scan.to_json(), allow_nan=False))
    assert values["schema"] == SCHEMA == "regard.scan/1"
    assert set(values) == {
        "schema", "model", "versions", "settings", "reading", "rows", "special", "texts", "statistics",
        "findings", "deviation", "seconds",
    }  # fmt: skip
    assert Scan.from_json(values) == scan
    assert np.shape(values["statistics"]["entropy"]["mean"]) == (2, 3)
    unknown = json.loads(json.dumps(replace(scan, deviation=math.nan).to_json(), allow_nan=False))
    assert unknown["deviation"] is None and not Scan.from_json(unknown).trusted
    with pytest.raises(ValueError, match=r"regard\.scan/1"):
        Scan.from_json(values | {"schema": "regard.scan/0"})


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
