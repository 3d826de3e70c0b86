"""The page without a browser: what it says, that it is whole, and that nothing in it runs that a user brought."""

import base64
import json
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from synthetic import encoder_decoder, finding, language_model, part, scan, text, vision_language_model

from regard.report import figures, words
from regard.report.data import SCHEMA, Areas, Check, Scan, SourceMass
from regard.report.head_tables import Heads, Measure
from regard.report.packing import pack
from regard.report.page import Report, link, prose
from regard.report.scan_page import page

NASTY = "<script>alert(1)</script>"


def data(html: str) -> dict[str, Any]:
    """What the page's script reads."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found
    return json.loads(found[1])


def unpack(packed: dict[str, str]) -> list[int]:
    """The numbers behind a packed block."""
    return np.frombuffer(base64.b64decode(packed["data"]), f"<{packed['type']}").tolist()


def heads(key: str = "", rows: int = 2) -> Heads:
    """Two heads in each layer."""
    table = [[0.1, 0.2]] * rows
    return Heads(key, "it", list(range(rows)), ["a"] * rows, [Measure("mass", "mass", "a share", "of it", table)], 1)


@pytest.mark.parametrize(("texts", "scope"), [(1, "1 text only"), (3, "3 texts only"), (8, "8 texts")])
def test_the_page_says_how_far_it_reaches(texts: int, scope: str) -> None:
    made = scan([part(2, 3, 9, texts=texts)], [], findings=[finding("sink", texts=texts)], massive=[], sinks=[])
    html = page(made).html()
    assert words.scope(texts) == scope and scope in html
    assert ("nothing here is about other texts" in html) == ("Not told below 8 texts" in html) == (texts < 8)
    assert ("95 % interval 0.570 to 0.650" in html) == (texts >= 8)


def test_everything_from_users_is_escaped() -> None:
    mean = {"name": NASTY, "revision": NASTY, "architecture": NASTY, "dtype": NASTY, "device": NASTY}
    tokens = [NASTY, "</script>", '" onmouseover="x', "<!--", "\u2028"]
    made = language_model()
    shown = replace(text(4, tokens, title=NASTY), segments=[NASTY] * len(tokens))
    rows = [replace(row, path=NASTY, tier=NASTY) for row in made.parts[0].rows]
    areas = Areas([NASTY], [[1.0]] * 4)
    bad = dict.fromkeys(("title", "sentence", "detail", "quantity", "rule", "meaning", "code"), NASTY)
    made = replace(
        made,
        model=replace(made.model, **mean),
        versions={NASTY: NASTY},
        settings={NASTY: NASTY},
        command=NASTY,
        notes=[NASTY],
        parts=[replace(made.parts[0], title=NASTY, rows=rows, areas=areas)],
        examples=[shown],
        findings=[replace(finding("sink"), **bad)],
        checks=[Check(NASTY, "failed", None, NASTY)],
    )
    html = page(made).html()
    assert html.count("alert(1)") > 20 and NASTY not in html and "<!--" not in html
    assert html.count("</script>") == 2
    assert [piece for piece, _ in data(html)["examples"][0]["pieces"]][:4] == tokens[:4]
    assert prose(f"`{NASTY}` & {NASTY}`").count("&lt;script&gt;") == 2
    assert link("[#vision.L1H2]") == '<a href="#vision.L1H2">L1H2</a>' and "<b>" not in link("[#<b>.L1H2]")


@pytest.mark.parametrize("made", [language_model(), vision_language_model(), encoder_decoder()])
def test_the_page_is_whole_and_needs_no_network(made: Scan) -> None:
    html = page(made).html()
    assert not re.findall(r"https?://", html.replace("http://www.w3.org/2000/svg", ""))
    assert re.findall(r"(?:src|href)=\"(?!#|data:)", html) == [] and "@import" not in html
    assert "prefers-color-scheme: dark" in html and "@media print" in html
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert html.count('role="tab"') == (len(made.parts) if len(made.parts) > 1 else 0)
    for said in ("spot check passed", "Attention is not importance", "peak memory", made.command):
        assert said in html


def test_the_page_says_what_the_doctor_found() -> None:
    made = language_model()
    assert "doctor: 2 checks ok, worst deviation 2.0e-07" in page(made).html()
    assert "<td>rows add up</td><td>ok</td><td>2.0e-07</td>" in page(made).html()
    assert 'role="alert"' not in page(made).html()
    broken = replace(made, checks=[*made.checks, Check("no weight on the future", "failed", None, "it looks ahead")])
    html = page(broken).html()
    assert html.index("do not rely on this page") < html.index("no weight on the future: it looks ahead")
    assert html.index("it looks ahead") < html.index("spot check passed")
    assert "doctor: 1 of 3 checks FAILED (no weight on the future)" in html and not broken.trusted
    left_out = page(replace(made, checks=[])).html()
    assert "doctor: " not in left_out and "did not examine this model" in left_out


def test_the_figures_hold_what_was_measured() -> None:
    made = language_model()
    shown, measured = data(page(made).html()), made.parts[0]
    assert measured.cards is not None
    of_heads = shown["heads"][""]
    entropy = next(measure for measure in of_heads["measures"] if measure["name"] == "entropy")
    assert np.allclose(entropy["mean"], measured.statistics["entropy"].mean, rtol=1e-3)
    assert np.allclose(entropy["std"], measured.statistics["entropy"].std, rtol=1e-3)
    assert np.allclose(entropy["without"], measured.statistics["entropy|no_sinks"].mean, rtol=1e-3)
    areas = next(block for block in shown["blocks"] if "shares" in block)
    assert np.allclose(areas["shares"], measured.areas.shares, rtol=1e-3)
    assert unpack(shown["examples"][0]["received"]) == np.ravel(made.examples[0].received).tolist()
    cards = of_heads["cards"]
    keys = np.reshape(unpack(cards["keys"]), cards["shape"])
    weights = np.reshape(unpack(cards["weights"]), cards["shape"])
    for query in range(len(measured.cards.queries)):
        count = len(measured.cards.keys[2][3][query])
        assert keys[2, 3, query, :count].tolist() == measured.cards.keys[2][3][query]
        assert weights[2, 3, query].tolist() == measured.cards.weights[2][3][query] + [0] * (cards["shape"][3] - count)
    assert unpack(cards["bins"]) == np.ravel(measured.cards.bins).tolist()


@pytest.mark.parametrize(("largest", "kind"), [(255, "u1"), (256, "u2"), (65535, "u2"), (65536, "u4")])
def test_numbers_are_packed_as_narrow_as_they_fit(largest: int, kind: str) -> None:
    packed = pack(np.array([[0, 1], [2, largest]]))
    assert packed["type"] == kind and unpack(packed) == [0, 1, 2, largest]


def test_absent_heads_are_left_out_of_the_figures() -> None:
    made = language_model()
    measured = made.parts[0]
    tables = {
        name: replace(table, mean=[[*table.mean[0][:5], None], *table.mean[1:]])
        for name, table in measured.statistics.items()
    }
    assert measured.cards is not None
    cards = replace(
        measured.cards,
        keys=[[*measured.cards.keys[0][:5], []], *measured.cards.keys[1:]],
        weights=[[*measured.cards.weights[0][:5], []], *measured.cards.weights[1:]],
        bins=[[*measured.cards.bins[0][:5], []], *measured.cards.bins[1:]],
    )
    shown = data(page(replace(made, parts=[replace(measured, statistics=tables, cards=cards)])).html())["heads"][""]
    assert shown["measures"][0]["mean"][0][5] is None
    bins = np.reshape(unpack(shown["cards"]["bins"]), (4, 6, -1))
    assert not bins[0, 5].any() and bins[1, 0].tolist() == cards.bins[1][0]


def test_code_for_a_head_names_its_part() -> None:
    shown = data(page(encoder_decoder()).html())["heads"]
    assert {key: each["selection"] for key, each in shown.items()} == {
        "decoder": "", "encoder": ', part="encoder"', "decoder.cross": ', role="cross"',
    }  # fmt: skip


def test_pairs_are_links_to_their_heads() -> None:
    made = encoder_decoder()
    html = page(made).html()
    assert '<a href="#encoder.L0H0">L0H0</a>' in html and '<a href="#decoder.cross.L2H3">L2H3</a>' in html
    empty = [replace(each, pairs=[]) for each in made.parts]
    assert "most alike" not in page(replace(made, parts=empty)).html()


def test_a_failed_spot_check_is_shown() -> None:
    for deviation in (0.5, math.nan):
        made = replace(language_model(), deviation=deviation)
        assert not made.trusted and "FAILED" in page(made).html()


def test_a_redacted_scan_says_so_and_has_no_picture() -> None:
    made = vision_language_model()
    examples = [replace(each, tokens=["·"] * len(each.tokens), image=None) for each in made.examples]
    html = page(replace(made, examples=examples, redacted=True)).html()
    assert "left out of this page" in html and "left out of this page" not in page(made).html()
    shown = data(html)["examples"]
    assert {piece for each in shown for piece, _ in each["pieces"]} == {"·"}
    assert (
        [each["image"] for each in shown] == [None, None] != [e["image"] for e in data(page(made).html())["examples"]]
    )


def test_massive_activations_are_told_with_their_token() -> None:
    assert (
        "830 times the median" in page(language_model()).html()
        and "<code>&lt;s&gt;</code>" in page(language_model()).html()
    )
    assert "None: no value" in page(replace(language_model(), massive=[])).html()


def test_cross_attention_is_told_by_classes_of_tokens() -> None:
    shares = [
        {"content": share, "eos": 1 - share, "tag": 0.0, "special": 0.0, "punctuation": 0.0} for share in (0.5, 0.7)
    ]
    sources = [
        SourceMass(0, shares[0], 0.6, 0.9, shares[1], 0.8, None),
        SourceMass(1, shares[1], 0.8, None, silent="<b>no head</b>"),
    ]
    html = page(replace(language_model(), sources=sources)).html()
    table = html[html.index("Cross-attention by classes of tokens") :]
    rows = re.findall(r"<td[^>]*>([^<]*)</td>\s*<td[^>]*>([^<]*)</td>\s*<td[^>]*>([^<]*)</td>", table)
    assert rows[:2] == [("words", "0.60", "0.70"), ("end of the text", "0.40", "0.30")]
    assert (
        "Cosine with even attention: 0.70; the same of words alone: 0.90; cosine between reading and writing: 0.80."
        in table
    )
    assert "Cross-attention by classes" not in page(language_model()).html()
    silent = page(replace(language_model(), sources=sources[1:])).html()
    assert "did not write: &lt;b&gt;no head" in silent and "reading and writing" not in silent


def test_sinks_of_the_residual_stream_are_listed_where_there_are_any() -> None:
    html = page(language_model()).html()
    table = html[html.index("Sinks of the residual stream") :]
    assert "<code>on</code> at position 4 of text 1" in table and "secondary" in table and "4 (L3)" in table
    assert "Sinks of the residual stream" not in page(replace(language_model(), sinks=[])).html()


def test_reports_of_other_parts_are_built_from_the_same_blocks() -> None:
    report = Report("A and B")
    report.add_heading("Heads", "of `A`")
    first, second = report.add_tabs({"a": "A", "b": "B"})
    for panel, of in ((first, heads("a")), (second, heads("b"))):
        panel.add_figures(figures.heatmap(of, ["mass"]))
        panel.add_head_table(of, ["mass"])
    shown = data(report.html())
    assert list(shown["heads"]) == ["a", "b"] and [block["heads"] for block in shown["blocks"]] == ["a", "a", "b", "b"]
    with pytest.raises(ValueError, match="key 'a'"):
        report.add_figures(figures.heatmap(heads("a", 3), ["mass"]))


def test_json_round_trip() -> None:
    for made in (language_model(), vision_language_model(), encoder_decoder()):
        values = json.loads(json.dumps(made.to_json(), allow_nan=False))
        assert values["schema"] == SCHEMA and Scan.from_json(values) == made
        assert page(Scan.from_json(values)).html() == page(made).html()
    unknown = json.loads(json.dumps(replace(made, deviation=math.nan).to_json(), allow_nan=False))
    assert unknown["deviation"] is None and not Scan.from_json(unknown).trusted
    with pytest.raises(ValueError, match=r"regard\.scan/"):
        Scan.from_json(values | {"schema": "regard.scan/0"})


def test_words_of_the_examples_are_read_as_people_do() -> None:
    made = scan([part(2, 3, 4)], [text(2, ["The", "Ġcat", "s", "Ċ"])], sinks=[])
    assert data(page(made).html())["examples"][0]["pieces"] == [["The", 0], ["cat", 0], ["s", 1], ["⏎", 1]]
