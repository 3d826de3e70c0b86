"""Claims and marks in words, for the terminal, the documents and the gallery."""

from collections import Counter
from collections.abc import Sequence

from .card import Card, Claim
from .marks import Equation, Judged, Mechanism, Reproduction, Seen
from .paired import Spread
from .results import Standing

AUTHORS_UNKNOWN = "number of authors not established"


def authors(card: Card) -> str:
    """How many authors."""
    if card.authors is None:
        return AUTHORS_UNKNOWN
    return "1 author" if card.authors == 1 else f"{card.authors} authors"


def threshold(claim: Claim) -> str:
    """What has to be where."""
    what = {
        "value": claim.metric,
        "difference": f"{claim.metric}, minus {claim.against}",
        "ratio": f"{claim.metric}, over {claim.against}",
    }[claim.measure]
    return f"{what}: {claim.direction} {claim.threshold:g}"


def measured(claim: Claim, seen: Seen) -> str:
    """The effect over seeds with its interval, the sign test, the smallest detectable effect, and the lead over controls."""
    if seen.spread is None:
        values = ", ".join(f"{value:.3g}" for value in seen.effects)
        return f"seeds {', '.join(map(str, seen.seeds))}: {values}" if values else ""
    factor = "a factor of " if claim.measure == "ratio" else ""
    parts = [
        f"{interval(seen.spread)} over {len(seen.seeds)} seeds",
        f"sign test p {seen.sign:.2g}",
        f"smallest detectable {factor}{seen.spread.detectable:.3g}",
    ]
    parts += [f"lead over {name} {interval(lead)}" for name, lead in (seen.controls or {}).items()]
    return ", ".join(parts)


def interval(spread: Spread) -> str:
    """A mean with its interval."""
    return f"{spread.mean:.3g} [{spread.low:.3g}, {spread.high:.3g}]"


def equation(judged: Judged) -> str:
    """The equation mark with the worst deviation."""
    if judged.deviation is None:
        return str(judged.equation)
    return f"{judged.equation} (worst deviation {judged.deviation:.1e}, tolerance {judged.claim.tolerance:.0e})"


def reproduction(judged: Judged) -> str:
    """The reproduction mark with its number."""
    own = judged.claim.own
    where = f"{own.model}, {own.data}" if own else "the paper's own model and data"
    if own is None or own.expected is None or judged.own is None:
        return f"{judged.reproduction} on {where}"
    return f"{judged.reproduction} on {where}: {judged.own:.3g}, expected {own.expected:g} within {own.within:g}"


def tally(judged: Sequence[Judged]) -> str:
    """The marks of a card in a few words, negatives first; "not run" is left out."""
    counts: Counter[str] = Counter()
    for one in judged:
        counts[f"equation {one.equation}"] += one.equation in (Equation.exact, Equation.not_exact)
        for seen in one.seen:
            counts[str(seen)] += seen.mark not in (Mechanism.none, Mechanism.not_run)
        counts[str(one.reproduction)] += one.reproduction is not Reproduction.not_run
    told = sorted((name for name, count in counts.items() if count), key=lambda name: ("not" not in name, name))
    return ", ".join(f"{counts[name]} {name}" for name in told)


def found(standing: Standing, query: str) -> bool:
    """Whether a card's facts, sentence or claims have every word of a query."""
    card = standing.card
    text = " ".join([card.slug, card.title, card.family, card.sentence, *(c.statement for c in card.claims)]).lower()
    return all(word in text for word in query.lower().split())


def markdown(standings: Sequence[Standing]) -> str:
    """Return the cards as a page of the documents."""
    built = [one for one in standings if not one.card.planned]
    lines = [
        "# The papers",
        "",
        "Written by `regard papers list --markdown`. Every claim has three marks, which are never mixed: whether the *equation* "
        "is computed exactly, whether a named small model shows the *mechanism* (over at least 5 seeds, beside controls), and "
        "whether the number is *reproduced* on the paper's own model and data. A small model cannot refute a paper about a large "
        "one; it can fail to show its mechanism, and then the mark says so of that model.",
        "",
        f"{len(standings)} papers have a card. The claims of {len(built)} can be checked with `regard papers check SLUG`; "
        f"{len(standings) - len(built)} are planned.",
        "",
        "`regard papers check --all` checks those that have no result yet, and goes on where it was stopped. On several "
        "machines: `--shard I/N` on each, or `--ray` once, with a task for each paper on the cluster of `RAY_ADDRESS` "
        '(`pip install "regard[ray]"`, and a cache that all see, `XDG_CACHE_HOME`). Results are written where the command runs.',
    ]
    for family in sorted({one.card.family for one in standings}):
        lines += ["", f"## {family}", "", "| paper | what it does | status | marks |", "|---|---|---|---|"]
        for one in standings:
            card = one.card
            if card.family == family:
                title = f"[{_cell(card.title)}](https://arxiv.org/abs/{card.arxiv})"
                facts = f"`{card.slug}`, {authors(card)}, {card.date.year}"
                row = f"| {title}<br>{facts} | {_cell(card.sentence)} | {one.status} |"
                lines.append(f"{row} {tally(one.judged)} |".replace("  |", " |"))
    for one in built:
        lines += ["", f"## {one.card.slug}", "", "| claim | the paper's number | threshold | measured | marks |"]
        lines += ["|---|---|---|---|---|"]
        for judged in one.judged:
            claim = judged.claim
            numbers = "<br>".join(
                _cell(f"{seen.model}: {measured(claim, seen)}") for seen in judged.seen if seen.effects
            )
            cells = [claim.statement, claim.reported, f"{threshold(claim)} ({claim.why})"]
            lines.append(f"| {' | '.join(map(_cell, cells))} | {numbers} | {_cell(str(judged))} |".replace("  |", " |"))
        if one.card.real:
            lines += ["", f"On a real model: {one.card.real}"]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
