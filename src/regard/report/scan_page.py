"""The page of a scan."""

from . import words
from .data import Scan, to_array
from .figures import heatmap
from .findings import SHORTEST, SINK
from .intervals import FEWEST
from .page import Figure, Report

MAPS = {
    "sink_mass": (
        "Attention on the first token",
        "Share of each head's attention that falls on the first token (sink mass).",
        "share of attention",
        1.0,
        2,
    ),
    "sink_rate": (
        "How often it is a sink",
        f"Share of texts in which the first token receives more than {SINK} of the attention (sink rate).",
        "share of texts",
        1.0,
        2,
    ),
    "entropy": (
        "How spread out each head is",
        "Mean entropy of a query's attention: 0 is one token, 1 about 2.7, 2 about 7, 3 about 20 tokens.",
        "nats",
        None,
        1,
    ),
    "distance": (
        "How far each head looks",
        "Mean distance between a token and what it attends to; attention on the first token counts too.",
        "tokens",
        None,
        1,
    ),
}
EARLY = " Early tokens look strong in such a model: who sees them has little else to look at."
READS = {
    "both": "every token sees the whole text",
    "back": "a token sees itself and what came before it",
    "other": "tokens see parts of the text (windows or the like)",
}


def page(scan: Scan) -> Report:
    """The page of a scan, to be saved or extended."""
    report = Report(f"What {scan.model.name} attends to")
    report.add_header(_facts(scan), _verdict(scan), scan.trusted, _summary(scan))
    report.add_findings(scan.findings, beside=[_map(scan, "sink_mass"), _map(scan, "sink_rate")])
    report.add_heading("More, layer by layer and head by head", "One cell is one head; the input is on top.")
    report.add_figure(*(_map(scan, name) for name in ("entropy", "distance")))
    report.add_heading(
        "The texts, coloured by the attention received",
        "Stronger colour: other tokens look here more. The first token stands in a dashed frame and is left "
        "out of the colours: as a sink it would drown all others. Each text has a colour scale of its own."
        + (EARLY if scan.reading == "back" else ""),
    )
    report.add_tokens(scan.texts, [f"layer {row.layer + 1} (L{row.layer})" for row in scan.rows])
    report.add_heading("What this page cannot say")
    report.add_notes(_limits(scan))
    report.add_heading("Method and versions")
    report.add_notes(_method(scan))
    report.add_table(["what", "value"], _versions(scan))
    return report


def _map(scan: Scan, name: str) -> Figure:
    """The [layer, head] map of a statistic."""
    title, caption, unit, top, digits = MAPS[name]
    values = to_array(scan.statistics[name].mean)
    layers = [row.layer for row in scan.rows]
    return Figure(heatmap(values, layers, label=title, unit=unit, top=top, digits=digits), title, caption)


def _facts(scan: Scan) -> list[tuple[str, str]]:
    """The header line."""
    lengths = [len(text.tokens) for text in scan.texts]
    per_text = words.between(min(lengths), max(lengths), 0)
    heads = sorted({row.heads for row in scan.rows})
    return [
        ("model", f"{scan.model.architecture}, {scan.model.parameters / 1e6:,.1f} M parameters"),
        ("attention", f"{len(scan.rows)} layers × {words.between(heads[0], heads[-1], 0)} heads"),
        ("precision", f"{scan.model.dtype} on {scan.model.device}"),
        ("texts", f"{len(scan.texts)} × {per_text} tokens ({scan.tokens:,} in all)"),
        ("time", f"{scan.seconds:.1f} s"),
        *([("revision", scan.model.revision)] if scan.model.revision else []),
    ]


def _verdict(scan: Scan) -> str:
    """The spot check in words."""
    word = "passed" if scan.trusted else "FAILED, do not rely on this page"
    return f"spot check {word}: worst deviation {scan.deviation:.1e} (limit {scan.tolerance:.0e})"


def _summary(scan: Scan) -> str:
    """One sentence under the title: which way the model reads, and how far the findings reach."""
    few = "" if len(scan.texts) >= FEWEST else f" {words.scope(len(scan.texts))}: nothing here is about other texts."
    cut = sum(text.truncated > 0 for text in scan.texts)
    cut_note = f" {cut} of {len(scan.texts)} texts were cut to fit." if cut else ""
    return f"In this model {READS[scan.reading]}.{few}{cut_note}"


def _limits(scan: Scan) -> list[str]:
    """What the numbers do not show."""
    return [
        "Attention is not importance. A weight says where a head looks, not what the output depends on: what "
        "it fetches may be small, cancelled by other heads or ignored later. To see what matters, change it "
        "and look at the output (`lens.edit`).",
        f"The numbers are about {words.scope(len(scan.texts))}. Other texts, languages or lengths can "
        "differ; sink masses and rates fall as texts grow.",
        "Heads named above were picked and measured on the same texts, so extremes look a little more "
        "extreme than they would on new ones.",
        "Means hide mixtures: a head with a mean of 0.5 may do two different things for different words.",
        "Colours of single texts average over heads, and over layers unless you choose one.",
    ]


def _method(scan: Scan) -> list[str]:
    """How it was measured."""
    tiers = ", ".join(f"`{tier}`" for tier in sorted({row.tier for row in scan.rows}))
    return [
        f"Attention was reached through {tiers} at {len(scan.rows)} sites and measured from the model's own "
        "queries, keys and masks, without keeping the attention maps. Padding is left out everywhere.",
        "Spot check: some random rows and columns are computed again, densely and in float64; the worst "
        "deviation is in the header.",
        "Means are over queries, then over texts. Intervals are 95 % t intervals over texts, given from "
        f"{FEWEST} texts on; where a number averages several heads they are at least that wide.",
        "Sink rate (arXiv 2410.10781): share of texts in which the first token's mean weight, over the "
        f"queries that can see it, is above ε = {SINK}. It depends on lengths and first tokens, so they are "
        f"given with it; texts of fewer than {SHORTEST} tokens are left out of it.",
        "In the lines of code, `lens = regard.attach(model, tokenizer)` and `x = lens.encode(text)`.",
        "Layers are counted from 1 in sentences. `L0` and `H0` are the first layer and head in code.",
    ]


def _versions(scan: Scan) -> list[list[str]]:
    """Settings and versions."""
    rows = [[name.replace("_", " "), str(value)] for name, value in scan.settings.items() if value is not None]
    return rows + [[name, version] for name, version in scan.versions.items()]
