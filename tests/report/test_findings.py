"""Findings: that their sentences and numbers are those of the tables, whatever the tables say."""

from dataclasses import replace

import numpy as np
import pytest

from regard.report import words
from regard.report.data import Areas, Array, Finding, Model, Pair, Part, Row, Scan, Statistic, to_table
from regard.report.findings import Seen, find, image, sink

SENTENCE = (
    "`[CLS]`, the first token of every text, takes 0.45 to 0.52 of all attention in layers 2 to 5 of 6 (L1 to L4)."
)


def part_of(
    by_layer: list[float], texts: int = 12, length: int = 8, name: str = "main", title: str = "the model"
) -> Part:
    """A part of 3 heads per layer with these mean masses on the first token; the rest is spread evenly."""
    mass = np.array(by_layer)[:, None] + np.array([-0.05, 0.0, 0.05])
    ladder = np.arange(mass.size, dtype=float).reshape(mass.shape)

    def table(values: Array) -> Statistic:
        return Statistic(to_table(values), to_table(np.full_like(mass, 0.02)), texts)

    shares = np.stack([np.array(by_layer), 1 - np.array(by_layer)], 1)
    return Part(
        name=name,
        role="self",
        title=title,
        reading="both",
        lengths=[length] * texts,
        rows=[Row(f"layer.{layer}", layer, "self", name, 3, "interface") for layer in range(len(by_layer))],
        statistics={
            "sink_mass": table(mass),
            "sink_rate": table((mass > 0.3).astype(float) if length >= 7 else np.full_like(mass, np.nan)),
            "entropy": table(ladder / 10),
            "distance": table(ladder / 4),
        },
        areas=Areas(["first", "rest"], to_table(shares)),
        pairs=[Pair(0, 1, 2, 0.97), Pair(0, 0, 1, 0.5)],
        spread={"similarity": [[0.4]] * len(by_layer), "sink_mass": [], "entropy": []},
        cards=None,
    )


def scan_of(*parts: Part, redacted: bool = False, unit: str = "text") -> Scan:
    return Scan(
        model=Model("toy", None, "ToyModel", "float32", "cpu", 1000),
        versions={},
        settings={},
        command="",
        unit=unit,
        truncated=0,
        parts=list(parts),
        examples=[],
        massive=[],
        sinks=[],
        sources=[],
        special=["[CLS]"],
        findings=[],
        checks=[],
        deviation=1e-7,
        notes=[],
        seconds=1.0,
        peak_bytes=0,
        redacted=redacted,
    )


def seen_of(part: Part, firsts: list[str] | None = None, sinks: list[str] | None = None) -> Seen:
    return Seen(
        firsts=firsts or ["[CLS]"] * len(part.lengths),
        sinks=sinks or [],
        area_std=dict.fromkeys(part.areas.names, 0.03),
        image_tokens=0.8,
        where="",
        pairs=9,
        alike=1,
        pair_std=0.01,
    )


def found(by_layer: list[float], **options: int) -> dict[str, Finding]:
    part = part_of(by_layer, **options)
    return {finding.key: finding for finding in find(scan_of(part), [seen_of(part)])}


def test_a_sink_is_told_with_its_layers_and_numbers() -> None:
    finding = found([0.1, 0.45, 0.52, 0.49, 0.50, 0.2])["sink"]
    assert finding.sentence == SENTENCE and finding.number == pytest.approx(0.49)
    assert finding.interval is not None and finding.interval[0] < 0.49 < finding.interval[1]
    assert "12 of 12 heads there" in finding.detail and "(12 of 18 in the whole model, mean 0.49)" in finding.detail
    assert "0.10 to 0.20" in finding.detail and "ε = 0.3" in finding.detail and "8 tokens each" in finding.detail


def test_layers_above_the_threshold_but_weaker_are_counted_apart() -> None:
    sentence = found([0.1, 0.8, 0.9, 0.8, 0.4, 0.1])["sink"].sentence
    assert "0.80 to 0.90" in sentence and "layers 2 to 4 of 6 (L1 to L3), and more than 0.3 in 4 of 6" in sentence


def test_no_sink_says_so_with_the_numbers() -> None:
    finding = found([0.05, 0.2, 0.1])["sink"]
    assert finding.title == "No sink on the first token"
    assert "0.05 to 0.20, most in layer 2 of 3 (L1)" in finding.sentence
    assert "0 of 9 heads" in finding.detail and "Redistribute" not in finding.code


@pytest.mark.parametrize(("texts", "scope"), [(1, "1 text only"), (3, "3 texts only"), (8, "8 texts")])
def test_few_texts_give_no_interval_and_generalise_nothing(texts: int, scope: str) -> None:
    assert words.scope(texts) == scope
    findings = found([0.1, 0.5], texts=texts)
    assert len(findings) == 5
    for finding in findings.values():
        assert (finding.interval is None) == (texts < 8)
        assert finding.sentence.startswith("In th") == (texts < 8)


def test_different_first_tokens_are_named() -> None:
    part = part_of([0.5], texts=2)
    finding = sink(scan_of(part), 0, seen_of(part, ["[CLS]", "Ġthe"]))
    assert "the first token (2 different ones in 2 texts: `[CLS]`, `the`)" in finding.sentence
    assert finding.meaning.startswith("It is a word")


def test_a_redacted_scan_names_special_tokens_only() -> None:
    part = part_of([0.5], texts=9)
    for firsts, told in ((["[CLS]"] * 9, "`[CLS]`"), (["Ġthe"] * 9, "the first token of every text takes")):
        findings = find(scan_of(part, redacted=True), [seen_of(part, firsts, ["Ġsecret"])])
        assert told in findings[0].sentence.lower().replace("[cls]", "[CLS]")
        assert not any("secret" in one.sentence + one.detail or "`the`" in one.sentence for one in findings)


def test_too_short_texts_have_no_sink_rate() -> None:
    assert "No sink rate" in found([0.5], length=2)["sink"].detail


def test_absent_heads_are_left_out() -> None:
    part = part_of([0.5, 0.5])
    tables = {
        key: replace(table, mean=[[*table.mean[0][:2], None], table.mean[1]]) for key, table in part.statistics.items()
    }
    part = replace(part, statistics=tables)
    assert "5 of 5 heads" in find(scan_of(part), [seen_of(part)])[0].detail


def test_areas_add_up_and_name_what_changes_with_depth() -> None:
    finding = found([0.1, 0.2, 0.7])["areas"]
    assert finding.sentence == "Of all attention, all others get 0.67 and the first token gets 0.33."
    assert "0.10 in the first layer, 0.70 in the last" in finding.detail and finding.number == pytest.approx(2 / 3)
    part = part_of([0.1])
    part = replace(part, areas=Areas(["first", "other sinks", "rest"], [[0.1, 0.4, 0.5]]))
    told = find(scan_of(part), [seen_of(part, sinks=["[SEP]", "."])])[1].sentence
    assert "other sinks (`[SEP]`, `.`) get 0.40" in told


def test_the_image_is_told_against_its_share_of_the_tokens() -> None:
    part = part_of([0.1, 0.2])
    assert image(scan_of(part), 0, seen_of(part)) is None
    part = replace(part, areas=Areas(["first", "image", "rest"], [[0.1, 0.2, 0.7], [0.2, 0.4, 0.4]]))
    finding = image(scan_of(part), 0, seen_of(part))
    assert finding is not None and finding.number == pytest.approx(0.3)
    assert "The image gets 0.30 of the attention, with 0.80 of the tokens" in finding.sentence
    assert "most in layer 2 of 2 (L1), 0.40" in finding.sentence


def test_each_part_has_findings_of_its_own() -> None:
    main, calm = part_of([0.5]), part_of([0.1], name="vision", title="the image encoder")
    scan = scan_of(main, calm)
    told = find(scan, [seen_of(main), seen_of(calm)])
    assert [one.part for one in told] == [0] * 5 + [1] * 3
    assert [one.key for one in told[5:]] == ["sink", "areas", "sharpness"]
    assert told[5].title == "No sink on the first token: the image encoder"
    assert all("in the image encoder, " in one.sentence.lower() for one in told[5:])
    assert not any("image encoder" in one.sentence for one in told[:5])


def test_images_have_no_reach() -> None:
    part = part_of([0.5], texts=9)
    findings = find(scan_of(part, unit="image"), [seen_of(part, ["class token"] * 9)])
    assert "reach" not in {finding.key for finding in findings} and len(findings) == 4
    assert "the first token of every image" in findings[0].sentence


def test_redundant_heads_are_counted() -> None:
    finding = found([0.1, 0.5])["redundancy"]
    assert "1 of 9 pairs of heads in a layer are more alike than 0.9 (11%)" in finding.sentence
    assert "L0H1 and L0H2 (layer 1), 0.97" in finding.sentence and "mean over all pairs is 0.40" in finding.detail
    assert finding.interval is not None and finding.interval[1] <= 1 and "(0, 2)" in finding.code
