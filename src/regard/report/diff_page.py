"""The page of a difference: what changed first, then both sides."""

import numpy as np

from . import figures, words
from .data import Finding, Part, Scan, to_table
from .diff import Compared, compare, shared_parts
from .head_tables import Heads, Measure
from .intervals import FEWEST
from .page import Report
from .scan_page import WORDS

MOST = 8  # changes that are listed per statistic
COMPARED = ("sink_mass", "entropy", "distance", "max_weight")


def page(before: Scan, after: Scan, names: tuple[str, str]) -> Report:
    """The page of two scans of the same texts; `names` are what stands for them.

    Raises ValueError if they share no part with the same layers and heads.
    """
    pairs = shared_parts(before, after)
    if not pairs:
        raise ValueError(
            f"{names[0]} and {names[1]} have no attention with the same layers and heads: no head has its counterpart"
        )
    report = Report(f"{names[0]} and {names[1]}: what attention does differently")
    report.add_header(
        [("first", _model(before, names[0])), ("second", _model(after, names[1])), ("texts", str(before.texts))],
        [(_verdict(before, after), before.exact and after.exact)],
        _scope(before),
        after.command,
    )
    titles = {"" if len(pairs) == 1 else f"{one.name}.{one.role}": one.title for one, _ in pairs}
    panels = report.add_tabs(titles) if len(pairs) > 1 else [report]
    for place, ((key, _), panel, (one, other)) in enumerate(zip(titles.items(), panels, pairs, strict=True)):
        _add_part(panel, key, place, one, other, names)
    report.add_heading("What this page cannot say")
    report.add_notes(
        [
            "A difference of attention is not a difference of what the models do: look at outputs for that.",
            "Both sides saw the same texts, and intervals take them as independent: they are wider than need be. Of many "
            "heads, about one in twenty is called clear by chance.",
            "Heads are compared by their place: models that were trained apart do not have the same heads in the same places.",
        ]
    )
    return report


def findings(compared: list[Compared], part: int, names: tuple[str, str], texts: int) -> list[Finding]:
    """One finding per statistic that changed, the largest share of changed heads first."""
    found = []
    for one in compared:
        title, _, unit, *_ = WORDS[one.statistic]
        clear = [change for change in one.changes if change.clear and abs(change.difference) > 1e-6]
        moved = clear if texts >= FEWEST else [change for change in one.changes if abs(change.difference) > 1e-6]
        if not moved:
            continue
        top = moved[0]
        means = float(np.nanmean(one.before)), float(np.nanmean(one.after))
        word = "clearly changed" if texts >= FEWEST else "changed"
        found.append(
            Finding(
                key=one.statistic,
                part=part,
                title=words.sentence(title),
                sentence=f"{len(moved)} of {len(one.changes)} heads have {word} their {title}; most of all "
                f"{words.head(top.layer, top.head)}, from {top.before:.2f} to {top.after:.2f}.",
                detail=f"The mean over all heads is {means[0]:.3f} in {names[0]} and {means[1]:.3f} in {names[1]}.",
                quantity=f"change of the head that changed most, {unit}",
                number=top.difference,
                interval=top.interval,
                texts=texts,
                rule="95 % interval of the difference of means over texts leaves out 0"
                if texts >= FEWEST
                else "any difference",
                meaning="A change says that the head looks elsewhere, not that it matters.",
                code=f"lens.weights(x, layer={top.layer}, heads=[{top.head}])  # of either side",
            )
        )
    return sorted(found, key=lambda finding: -_count(finding))


def told(before: Scan, after: Scan, names: tuple[str, str]) -> list[Finding]:
    """The findings of the part that writes the output."""
    one, other = shared_parts(before, after)[0]
    return findings(_compared(one, other), 0, names, min(len(one.lengths), len(other.lengths)))


def _compared(before: Part, after: Part) -> list[Compared]:
    return [compare(before, after, name) for name in COMPARED if name in before.statistics and name in after.statistics]


def _count(finding: Finding) -> int:
    return int(finding.sentence.split()[0])


def _add_part(report: Report, key: str, place: int, before: Part, after: Part, names: tuple[str, str]) -> None:
    compared = _compared(before, after)
    heads = _heads(key, before, compared, names)
    told = findings(compared, place, names, min(len(before.lengths), len(after.lengths)))
    report.add_findings(
        told,
        beside=[figures.heatmap(heads, [f"{one.statistic} change" for one in compared])],
        empty="No head changed what it attends to.",
    )
    report.add_heading("The heads that changed most", "Second minus first; intervals are 95 % over texts.")
    report.add_table(["head", "statistic", *names, "change", "interval"], _rows(compared))
    report.add_heading("Where attention goes", "Shares of all attention over depth, in both.")
    report.add_figures(
        figures.areas(heads, before.areas, names[0], "Shares of all attention, layer by layer."),
        figures.areas(heads, after.areas, names[1], "Shares of all attention, layer by layer."),
    )
    report.add_heading("Both, head by head")
    report.add_figures(
        figures.heatmap(heads, [f"{one.statistic} first" for one in compared]),
        figures.heatmap(heads, [f"{one.statistic} second" for one in compared]),
    )


def _rows(compared: list[Compared]) -> list[list[str]]:
    rows = []
    for one in compared:
        digits = WORDS[one.statistic][4] + 1
        for change in [change for change in one.changes if abs(change.difference) > 1e-6][:MOST]:
            interval = change.interval
            told = f"{interval[0]:+.{digits}f} to {interval[1]:+.{digits}f}" if interval else "too few texts"
            rows.append(
                [
                    f"L{change.layer}H{change.head}",
                    WORDS[one.statistic][0],
                    f"{change.before:.{digits}f}",
                    f"{change.after:.{digits}f}",
                    f"{change.difference:+.{digits}f}",
                    told,
                ]
            )
    return rows


def _heads(key: str, part: Part, compared: list[Compared], names: tuple[str, str]) -> Heads:
    measures = []
    for one in compared:
        title, caption, unit, top, digits = WORDS[one.statistic]
        size, sides = np.abs(one.difference), zip(("first", "second"), names, (one.before, one.after), strict=True)
        change = Measure(
            f"{one.statistic} change",
            f"change of {title}",
            "Size of the change, up or down.",
            unit,
            to_table(size),
            digits=digits,
        )
        measures += [
            change,
            *(
                Measure(
                    f"{one.statistic} {side}",
                    f"{title}, {name}",
                    caption,
                    unit,
                    to_table(table),
                    top=top,
                    digits=digits,
                )
                for side, name, table in sides
            ),
        ]
    layers = [row.layer for row in part.rows]
    return Heads(key, part.title, layers, [row.path for row in part.rows], measures, len(part.lengths))


def _model(scan: Scan, name: str) -> str:
    revision = f" at {scan.model.revision}" if scan.model.revision else ""
    return f"{name}{revision}, {scan.model.architecture}, {scan.model.dtype}"


def _verdict(before: Scan, after: Scan) -> str:
    worst = max(before.deviation, after.deviation)
    word = "passed" if before.exact and after.exact else "FAILED, do not rely on this page"
    return f"spot check {word}: worst deviation {worst:.1e}"


def _scope(scan: Scan) -> str:
    return "" if scan.texts >= FEWEST else f"{words.scope(scan.texts)}: nothing here is about other texts."
