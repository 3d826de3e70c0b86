"""The page of a scan."""

from collections.abc import Iterable

from . import figures, words
from .cross_mass import WRITTEN
from .data import Check, Example, Massive, Part, Scan, Sink
from .findings import SHORTEST, SINK
from .head_tables import Heads, Measure
from .intervals import FEWEST
from .page import Report
from .tokens import name

WORDS = {
    "sink_mass": (
        "sink mass",
        "Share of each head's attention that falls on the first token.",
        "of attention",
        1.0,
        2,
    ),
    "sink_rate": (
        "sink rate",
        f"Share of texts in which the first token receives more than {SINK} of the attention.",
        "of texts",
        1.0,
        2,
    ),
    "entropy": (
        "entropy",
        "How spread out a query's attention is: 0 is one token, 1 about 2.7, 2 about 7, 3 about 20 tokens.",
        "nats",
        None,
        1,
    ),
    "effective_keys": (
        "effective keys",
        "Over how many tokens a query spreads its attention, as if evenly.",
        "tokens",
        None,
        1,
    ),
    "max_weight": (
        "largest weight",
        "Weight of the token that a query looks at most, mean over queries.",
        "of attention",
        1.0,
        2,
    ),
    "distance": (
        "distance",
        "How many tokens lie between a query and what it attends to, on average.",
        "tokens",
        None,
        1,
    ),
}
PAIRS, SINKS, UNMARKED = 8, 12, 3  # that are listed
CLASSES = {
    "content": "words",
    "eos": "end of the text",
    "tag": "language tags",
    "special": "other special tokens",
    "punctuation": "punctuation",
}
EVIDENCE = {
    "mlp_along": "written by the MLP",
    "weight": "attention",
    "key_norm": "key, times the median",
    "value_norm": "value, times the median",
    "query_key_cosine": "queries' cosine with it",
}
SPREAD = "Standard deviation over texts, divided by the mean: 0 is the same in every text."
EARLY = " Early tokens look strong in such a model: who sees them has little else to look at."
READS = {
    "both": "every token sees the whole text",
    "back": "a token sees itself and what came before it",
    "other": "tokens see parts of the text (windows or the like)",
}


def page(scan: Scan) -> Report:
    """The page of a scan, to be saved or extended."""
    report = Report(f"What {scan.model.name} attends to")
    report.shared.examples.extend(scan.examples)
    if scan.failed:
        report.add_alarm(
            "The doctor's checks failed on this model: do not rely on this page.",
            [f"{check.name}: {check.sentence}" for check in scan.failed],
        )
    report.add_header(_facts(scan), _verdicts(scan), _summary(scan), scan.command)
    keys = [_key(scan, part) for part in scan.parts]
    if len(scan.parts) > 1:
        panels = report.add_tabs({key: part.title for key, part in zip(keys, scan.parts, strict=True)})
    else:
        panels = [report]
    for place, (key, panel) in enumerate(zip(keys, panels, strict=True)):
        _add_part(panel, scan, place, key)
    _add_massive(report, scan)
    _add_sinks(report, scan)
    _add_sources(report, scan)
    _add_trust(report, scan)
    report.add_heading("What this page cannot say")
    report.add_notes(_limits(scan))
    report.add_heading("Method and versions")
    report.add_notes(_method(scan))
    report.add_table(["what", "value"], _versions(scan))
    return report


def _key(scan: Scan, part: Part) -> str:
    """What stands before the head in the part's addresses; nothing where the part is alone."""
    if len(scan.parts) == 1:
        return ""
    return part.name if part.role == "self" else f"{part.name}.{part.role}"


def _add_part(report: Report, scan: Scan, place: int, key: str) -> None:
    """Everything about one part, its first screen first."""
    part = scan.parts[place]
    heads = _heads(scan, part, key)
    listed = [name for name in WORDS if name in part.statistics]
    depth = figures.areas(
        heads, part.areas, "Where attention goes", "Shares of all attention, layer by layer; they add up to 1."
    )
    report.add_findings(
        [finding for finding in scan.findings if finding.part == place],
        beside=[depth, figures.heatmap(heads, listed)],
        empty=f"No finding stands out in {part.title}; the figures show its numbers.",
    )
    report.add_heading(
        "Every head", "Click a column to sort, a row for the head's card. In figures, too, a click opens the card."
    )
    report.add_head_table(heads, listed)
    _add_examples(report, part, heads, [example for example in scan.examples if example.part == place])
    _add_redundancy(report, part, heads)
    report.add_heading(
        "Position and distance",
        "Every dot is a head, the bar is the median of its layer. Attention on a first-token sink counts as far away: "
        "take the sinks out with the switch at the top to see how far the rest looks.",
    )
    reach = [name for name in ("distance", "effective_keys", "entropy") if name in part.statistics]
    report.add_figures(figures.dots(heads, reach, "How far each head looks"))
    _add_spread(report, part, heads)


def _add_examples(report: Report, part: Part, heads: Heads, examples: list[Example]) -> None:
    """The texts or images, where there are any."""
    if not examples:
        return
    images = all(example.kind == "image" for example in examples)
    report.add_heading(
        "The image, coloured" if images else "The text, coloured",
        "Stronger colour: other tokens look here more. The first token, in a dashed frame, is left out of the colours: "
        "as a sink it would drown all others." + (EARLY if part.reading == "back" and not images else ""),
    )
    report.add_texts(heads, examples)


def _add_redundancy(report: Report, part: Part, heads: Heads) -> None:
    """How alike the heads of a layer are."""
    report.add_heading(
        "Heads that do the same",
        "How alike two heads of a layer attend: 0 is unrelated, 1 is the same.",
    )
    alike = [row[0] for row in part.spread.get("similarity", [])]
    if alike:
        report.add_figures(
            figures.bars(
                heads, alike, "mean similarity", "Similarity within each layer", "Mean over all pairs of heads."
            )
        )
    alike_pairs = [pair for pair in part.pairs if pair.similarity > 0][:PAIRS]
    if alike_pairs:
        address = f"#{heads.key}." if heads.key else "#"
        report.add_table(
            ["most alike", "and", "similarity"],
            [
                [f"[{address}L{pair.layer}H{pair.a}]", f"[{address}L{pair.layer}H{pair.b}]", f"{pair.similarity:.2f}"]
                for pair in alike_pairs
            ],
        )


def _add_spread(report: Report, part: Part, heads: Heads) -> None:
    """How much the statistics differ from text to text."""
    report.add_heading("Spread over texts")
    names = [f"{name} spread" for name in ("sink_mass", "entropy") if part.spread.get(name)]
    if names:
        report.add_figures(figures.heatmap(heads, names))
    else:
        report.add_notes([f"Not told below {FEWEST} texts: {words.scope(len(part.lengths))} here."])


def _add_massive(report: Report, scan: Scan) -> None:
    """Massive activations of the residual stream."""
    report.add_heading(
        "Massive activations",
        "Single numbers of the residual stream far above the rest of their layer. They often stand on sink tokens and "
        "make them.",
    )
    if not scan.massive:
        report.add_notes(["None: no value is more than 50 times the median size of its layer."])
        return
    rows = [
        [
            f"{each.layer + 1} (L{each.layer})",
            _where(scan, each),
            str(each.dim),
            f"{each.value:,.1f}",
            f"{each.ratio:,.0f} times the median",
        ]
        for each in scan.massive
    ]
    report.add_table(["layer", "token", "dimension", "value", "size"], rows)


def _add_sinks(report: Report, scan: Scan) -> None:
    """Sinks of the residual stream, and what shows them; nothing where no part has a stream that was read."""
    if not scan.sinks:
        return
    unmarked = sorted((one for one in scan.sinks if one.kind == "unmarked"), key=lambda one: -(one.weight or 0))
    first = [one for one in scan.sinks if one.kind == "primary"]
    later = sorted((one for one in scan.sinks if one.kind == "secondary"), key=lambda one: (-one.lifetime, -one.norm))
    listed = [*first[:SINKS], *later[:SINKS], *unmarked[:UNMARKED]]
    report.add_heading(
        "Sinks of the residual stream",
        "Tokens that are massive (primary), or come to point where the primary one does in a later layer (secondary). Where "
        "neither of the first two tokens is massive, the one that is given more is told of as unmarked, at the layer that gives "
        "it most.",
    )
    rows = [
        [
            _where(scan, each),
            each.kind,
            f"{each.start + 1} (L{each.start})",
            f"{each.lifetime} layer{'' if each.lifetime == 1 else 's'}",
            f"{each.times:.1f}",
            "" if each.kind == "unmarked" else f"{each.norm:.2f}",
            *("" if value is None else f"{value:.2f}" for value in (getattr(each, shown) for shown in EVIDENCE)),
        ]
        for each in listed
    ]
    titles = ["token", "kind", "behind layer", "lasts", "norm, times the median", "norm, of the primary one's"]
    report.add_table([*titles, *EVIDENCE.values()], rows)
    report.add_notes(
        [
            "Written by the MLP: the cosine of what the feed-forward layer writes there with the primary one's stream.",
            "Attention, key, value and cosine are of the layer after (of an unmarked token: of that layer), means over heads: "
            "the weight from queries that see it, norms over the medians of the text, and the cosine of queries with its key.",
            "An unmarked token lasts in layers that give it more than 0.3.",
            *([f"{len(scan.sinks) - len(listed)} more are not listed."] if len(listed) < len(scan.sinks) else []),
        ]
    )


def _add_sources(report: Report, scan: Scan) -> None:
    """Where cross-attention goes by classes of the source's tokens, where there is any."""
    if not scan.sources:
        return
    report.add_heading(
        "Cross-attention by classes of tokens",
        "What the decoder looks at in the source: words, or the tokens around them. Means over layers, heads, steps and "
        f"{words.scope(len(scan.sources))}.",
    )
    written = [one.written for one in scan.sources if one.written is not None]
    rows = [
        [CLASSES[name], _mean(one.read[name] for one in scan.sources), _mean(one[name] for one in written)]
        for name in scan.sources[0].read
    ]
    report.add_table(["class", "while it reads", "while it writes"], rows)
    alike = [
        ("Cosine with even attention", _mean(one.flatness for one in scan.sources)),
        ("the same of words alone", _mean(one.content_flatness for one in scan.sources)),
        ("cosine between reading and writing", _mean(one.agreement for one in scan.sources)),
        ("of words alone", _mean(one.content_agreement for one in scan.sources)),
    ]
    report.add_notes(
        [
            "; ".join(f"{what}: {value}" for what, value in alike if value) + ".",
            "A large share of one token makes distributions alike, whatever the words get: compare both (arXiv 2605.01229).",
            f"While it reads, the decoder is given the source itself; it writes {WRITTEN} tokens, greedily."
            if written
            else f"The model did not write: {scan.sources[0].silent}.",
        ]
    )


def _mean(values: Iterable[float | None]) -> str:
    there = [value for value in values if value is not None]
    return f"{sum(there) / len(there):.2f}" if there else ""


def _add_trust(report: Report, scan: Scan) -> None:
    """What was checked before and while measuring."""
    report.add_heading("Can these numbers be trusted?")
    report.add_notes(
        [
            f"Spot check: of each attention some random rows and columns are computed again, densely and in float64. The "
            f"worst deviation is {scan.deviation:.1e}, and {scan.tolerance:.0e} is what rounding may cause.",
            "The doctor examined this model on short inputs before it was measured. `regard doctor` asks more."
            if scan.checks
            else "The doctor did not examine this model: it was left out.",
        ]
    )
    if scan.checks:
        rows = [[check.name, check.verdict, _deviation(check), check.sentence] for check in scan.checks]
        report.add_table(["check", "verdict", "deviation", "what was found"], rows)


def _deviation(check: Check) -> str:
    if check.deviation is None:
        return ""
    return f"{check.deviation:.1e}" if check.deviation else "0"


def _where(scan: Scan, found: Massive | Sink) -> str:
    """The token that a massive activation or a sink stands on."""
    example = scan.examples[found.text]
    part = f", {scan.parts[example.part].title}" if len(scan.parts) > 1 else ""
    return f"{name(example.tokens[found.token])} at position {found.token} of {example.title}{part}"


def _heads(scan: Scan, part: Part, key: str) -> Heads:
    """The part's statistics in words."""
    measures = [_measure(part, name) for name in WORDS if name in part.statistics]
    measures += [
        Measure(f"{name} spread", f"variation of {WORDS[name][0]}", SPREAD, "of the mean", part.spread[name], digits=2)
        for name in ("sink_mass", "entropy")
        if part.spread.get(name)
    ]
    main = part.name == scan.parts[0].name
    selection = "" if main else f', part="{part.name}"'
    selection += "" if part.role == "self" else f', role="{part.role}"'
    return Heads(
        key=key,
        title=part.title,
        layers=[row.layer for row in part.rows],
        paths=[row.path for row in part.rows],
        measures=measures,
        texts=len(part.lengths),
        selection=selection,
        pairs=tuple(part.pairs),
        cards=part.cards,
    )


def _measure(part: Part, name: str) -> Measure:
    """One statistic with its words."""
    title, caption, unit, top, digits = WORDS[name]
    statistic, without = part.statistics[name], part.statistics.get(f"{name}|no_sinks")
    left = without.mean if without else None
    return Measure(name, title, caption, unit, statistic.mean, statistic.std, left, top, digits)


def _facts(scan: Scan) -> list[tuple[str, str]]:
    """The header line."""
    first = scan.parts[0]
    per_text = words.between(min(first.lengths), max(first.lengths), 0)
    heads = sorted({row.heads for row in first.rows})
    return [
        ("model", f"{scan.model.architecture}, {scan.model.parameters / 1e6:,.1f} M parameters"),
        *([("revision", scan.model.revision)] if scan.model.revision else []),
        ("attention", f"{len(first.rows)} layers × {words.between(heads[0], heads[-1], 0)} heads"),
        ("precision", f"{scan.model.dtype} on {scan.model.device}"),
        (f"{scan.unit}s", f"{scan.texts} × {per_text} tokens ({scan.tokens:,} in all)"),
        ("time", f"{scan.seconds:.1f} s"),
        ("peak memory", _bytes(scan.peak_bytes)),
    ]


def _bytes(count: int) -> str:
    """An amount of memory."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def _verdicts(scan: Scan) -> list[tuple[str, bool]]:
    """The spot check and the doctor in words, and whether each is good."""
    word = "passed" if scan.exact else "FAILED, do not rely on this page"
    spot = f"spot check {word}: worst deviation {scan.deviation:.1e} (limit {scan.tolerance:.0e})"
    doctor = [(words.doctor(scan.checks), not scan.failed)] if scan.checks else []
    return [(spot, scan.exact), *doctor]


def _summary(scan: Scan) -> str:
    """One sentence under the title: which way the model reads, and how far the findings reach."""
    reads = f"In this model {READS[scan.parts[0].reading]}." if scan.parts[0].role == "self" else ""
    few = "" if scan.texts >= FEWEST else f" {words.scope(scan.texts, scan.unit)}: nothing here is about other texts."
    cut = f" {scan.truncated} of {scan.texts} {scan.unit}s were cut to fit." if scan.truncated else ""
    redacted = " Texts and images are left out of this page." if scan.redacted else ""
    return f"{reads}{few}{cut}{redacted}".strip()


def _limits(scan: Scan) -> list[str]:
    """What the numbers do not show."""
    return [
        "Attention is not importance. A weight says where a head looks, not what the output depends on: what "
        "it fetches may be small, cancelled by other heads or ignored later. To see what matters, change it "
        "and look at the output (`lens.edit`).",
        f"The numbers are about {words.scope(scan.texts, scan.unit)}. Other texts, languages or lengths can "
        "differ; sink masses and rates fall as texts grow.",
        "Heads named above were picked and measured on the same texts, so extremes look a little more "
        "extreme than they would on new ones.",
        "Means hide mixtures: a head with a mean of 0.5 may do two different things for different words.",
        "Colours of single texts average over heads, and over layers unless you choose one. Coloured numbers are kept "
        "in 256 steps.",
    ]


def _method(scan: Scan) -> list[str]:
    """How it was measured."""
    rows = [row for part in scan.parts for row in part.rows]
    tiers = ", ".join(f"`{tier}`" for tier in sorted({row.tier for row in rows}))
    return [
        f"Attention was reached through {tiers} at {len(rows)} sites and measured from the model's own "
        "queries, keys and masks, without keeping the attention maps. Padding is left out everywhere.",
        "Means are over queries, then over texts. Intervals are 95 % t intervals over texts, given from "
        f"{FEWEST} texts on; where a number averages several heads they are at least that wide.",
        "Sink rate (arXiv 2410.10781): share of texts in which the first token's mean weight, over the "
        f"queries that can see it, is above ε = {SINK}. It depends on lengths and first tokens, so they are "
        f"given with it; texts of fewer than {SHORTEST} tokens are left out of it.",
        "Without sinks: weights on sink tokens are taken out and the rest is divided by its sum.",
        *(words.sentence(note) for note in scan.notes),
        "In the lines of code, `lens = regard.attach(model, tokenizer)` and `x = lens.encode(text)`.",
        "Layers are counted from 1 in sentences. `L0` and `H0` are the first layer and head in code.",
    ]


def _versions(scan: Scan) -> list[list[str]]:
    """The command, settings and versions."""
    rows = [["command", scan.command]] if scan.command else []
    rows += [[name.replace("_", " "), str(value)] for name, value in scan.settings.items() if value is not None]
    return rows + [[name, version] for name, version in scan.versions.items()]
