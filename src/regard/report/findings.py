"""Findings in plain words, each with its number, interval, texts, rule, meaning and a line of code."""

import math
from collections import Counter

import numpy as np

from . import words
from .data import Array, Finding, Scan, to_array
from .intervals import interval
from .reading import even_distance, even_share, seen_by
from .tables import depth, head_name, longest_run, place, spread, table
from .tokens import name

SINK = 0.3
BAND = 0.75
SHORTEST = math.ceil(2 / SINK)  # the sink rate leaves out texts with fewer tokens


def find(scan: Scan) -> list[Finding]:
    """All findings of a scan, the most telling first."""
    return [finding for finding in (sink(scan), sharpness(scan), reach(scan), other_token(scan)) if finding]


def sink(scan: Scan) -> Finding:
    """The heads and layers that leave more than `SINK` of their attention on the first token."""
    mass, std = table(scan, "sink_mass")
    by_layer = np.nanmean(mass, axis=1)
    rows = longest_run(by_layer > max(SINK, BAND * by_layer.max()))
    first = words.first_tokens([text.tokens[0] for text in scan.texts])
    over, heads = int((mass > SINK).sum()), int(np.isfinite(mass).sum())
    if rows:
        told = words.layers([scan.rows[row].layer for row in rows], depth(scan))
        inside = mass[rows]
        statement = f"{first} takes {spread(by_layer[rows])} of all attention in {told}"
        wide = int((by_layer > SINK).sum())
        statement += f", and more than {SINK} in {wide} of {len(by_layer)}." if wide > len(rows) else "."
        rest = np.delete(by_layer, rows)
        detail = (
            f"{words.heads_count(int((inside > SINK).sum()), int(np.isfinite(inside).sum()))} there put more "
            f"than {SINK} on it ({over} of {heads} in the whole model)."
        )
        detail += f" In the other layers it takes {spread(rest)}." if rest.size else ""
        quantity, number, stds = "mean mass in these layers", np.nanmean(inside), std[rows]
    else:
        top = int(by_layer.argmax())
        statement = (
            f"no layer leaves more than {SINK} of its attention on the first token: {first} takes "
            f"{spread(by_layer)}, most in {words.layers([scan.rows[top].layer], depth(scan))}."
        )
        detail = f"{words.heads_count(over, heads)} by themselves put more than {SINK} on it."
        quantity, number, stds = "mean mass over all heads", np.nanmean(mass), std
    return Finding(
        key="sink",
        title="A sink on the first token" if rows else "No sink on the first token",
        sentence=words.sentence(words.opening(len(scan.texts)) + statement),
        detail=f"{detail} {_sink_rate(scan)}",
        quantity=quantity,
        number=float(number),
        interval=interval(float(number), stds, len(scan.texts)),
        texts=len(scan.texts),
        rule=f"longest run of layers that put more than {SINK} on the first token, and at least {BAND} times "
        "as much as the strongest layer; means over heads, queries and texts",
        meaning=_sink_meaning(scan, bool(rows)),
        code="with lens.edit(Redistribute(take_from='first', give_to='rest', move=0.6)): model(**x)"
        if rows
        else "lens.measure(x, [SinkMass()])['sink_mass'].mean  # [layer, head]",
    )


def _sink_rate(scan: Scan) -> str:
    """The sink rate with what it depends on: epsilon, mean mass and lengths."""
    rate, mass = table(scan, "sink_rate")[0], table(scan, "sink_mass")[0]
    lengths = [len(text.tokens) for text in scan.texts]
    told = f"mean mass {np.nanmean(mass):.2f}, texts of {words.between(min(lengths), max(lengths), 0)} tokens."
    if not np.isfinite(rate).any():
        return f"No sink rate: every text has fewer than {SHORTEST} tokens, {told}"
    return f"Sink rate at ε = {SINK}: {np.nanmean(rate):.2f} of all heads and texts, {told}"


def _sink_meaning(scan: Scan, found: bool) -> str:
    """What the sink finding means for a reader."""
    if not found:
        return "Heads do not rest on the first token here; what receives most after it may take its place."
    made = all(text.tokens[0] in scan.special for text in scan.texts)
    origin = "The tokenizer puts this token there" if made else "It is a word that happens to stand first"
    return (
        f"{origin}, and these heads leave much of their attention on it. Such a sink is usually read as a "
        "resting place for heads that find nothing to fetch: a large weight here is not importance."
    )


def other_token(scan: Scan) -> Finding | None:
    """The token after the first that receives most attention, and in how many texts it is the same one."""
    tops = [top for top in (_top_token(scan, text) for text in range(len(scan.texts))) if top]
    if not tops:
        return None
    token, won = Counter(token for token, _, _ in tops).most_common(1)[0]
    leads = 2 * won > len(tops)
    counted = [(share, times) for each, share, times in tops if each == token or not leads]
    shares, times = np.array([share for share, _ in counted]), np.mean([times for _, times in counted])
    whose = "all attention" if scan.reading == "both" else "the attention of the tokens that see it"
    amount = f"{shares.mean():.2g} of {whose}, {times:.1f} times the average of these tokens"
    if leads:
        where = "" if len(tops) == 1 else f" in {won} of {len(tops)} texts"
        statement = f"after the first token, {name(token)} receives most{where}: {amount}."
    else:
        some = ", ".join(dict.fromkeys(name(token) for token, _, _ in tops[:4]))
        statement = "after the first token no one token leads: the strongest of each text "
        statement += f"({some}, ...) receives {amount}."
    fair = "" if scan.reading == "both" else ", against even attention and without the last quarter of the text"
    return Finding(
        key="other_token",
        title="What receives most after the first token",
        sentence=words.sentence(words.opening(len(scan.texts)) + statement),
        detail="" if len({token for token, _, _ in tops}) == 1 else _leaders(tops),
        quantity=f"attention received by {name(token) if leads else 'the strongest token'}",
        number=float(shares.mean()),
        interval=interval(float(shares.mean()), shares.std(ddof=1), len(shares)) if len(shares) > 1 else None,
        texts=len(shares),
        rule=f"mean over layers, heads and the queries that see the token; the strongest in its text{fair}",
        meaning="Where it is a separator or a full stop, it is often one more resting place. Attention "
        "received says where heads look, not what the output depends on.",
        code="lens.measure(x, [Received()])['received'].examples[0].mean((0, 1))  # of the first text",
    )


def _leaders(tops: list[tuple[str, float, float]]) -> str:
    """How many different tokens lead."""
    return f"{len({token for token, _, _ in tops})} different tokens lead in {len(tops)} texts."


def _top_token(scan: Scan, index: int) -> tuple[str, float, float] | None:
    """The token after the first that receives most in a text, its share, and its multiple of the average.

    Tokens are compared by their share over an even one: in a causal model few queries see the late ones.
    """
    tokens, length = scan.texts[index].tokens, len(scan.texts[index].tokens)
    received: Array = to_array(scan.texts[index].received).mean(axis=0)
    fair = scan.reading == "both" or seen_by("back", length) >= length / 4
    candidates = np.flatnonzero((np.arange(length) > 0) & np.isfinite(received) & fair)
    if not candidates.size:
        return None
    excess = (received / even_share(scan.reading, length))[candidates]
    best = int(candidates[excess.argmax()])
    return tokens[best], float(received[best]), float(excess.max() / excess.mean())


def sharpness(scan: Scan) -> Finding:
    """The heads with the lowest and the highest entropy."""
    entropy, std = table(scan, "entropy")
    mass, _ = table(scan, "sink_mass")
    low, high = place(entropy, np.nanargmin(entropy)), place(entropy, np.nanargmax(entropy))
    share = mass[low]
    resting = (
        f"It rests on the first token ({share:.2f} of its attention), so it is idle rather than selective."
        if share > SINK
        else f"It looks elsewhere than at the first token, which gets {share:.2f} of its attention."
    )
    return Finding(
        key="sharpness",
        title="The sharpest and the flattest head",
        sentence=words.sentence(
            f"{words.opening(len(scan.texts))}the sharpest head, {head_name(scan, low)}, looks at about "
            f"{words.tokens(math.exp(entropy[low]))} at a time; the flattest, {head_name(scan, high)}, at "
            f"about {words.tokens(math.exp(entropy[high]))}."
        ),
        detail=f"{resting} Entropy {entropy[low]:.2g} against {entropy[high]:.2g} nats; mean over all heads "
        f"{np.nanmean(entropy):.2g}.",
        quantity="entropy of the sharpest head, in nats",
        number=float(entropy[low]),
        interval=interval(float(entropy[low]), std[low], len(scan.texts)),
        texts=len(scan.texts),
        rule="entropy of each query's attention, mean over queries and texts; e to that power is the number of tokens",
        meaning="A sharp head looks at one or a few tokens per query, a flat one averages over many. Neither "
        "says how much the head matters.",
        code=f"lens.weights(x, layer={scan.rows[low[0]].layer}, heads=[{low[1]}])  # its exact rows",
    )


def reach(scan: Scan) -> Finding:
    """The heads that look nearest and farthest."""
    distance, std = table(scan, "distance")
    mass, _ = table(scan, "sink_mass")
    near, far = place(distance, np.nanargmin(distance)), place(distance, np.nanargmax(distance))
    heads, detail, rule = int(np.isfinite(distance).sum()), "", ""
    if scan.reading != "other":
        even = float(np.mean([even_distance(scan.reading, len(text.tokens)) for text in scan.texts]))
        local = int((distance < even / 2).sum())
        verb = "is" if local == 1 else "are"
        detail = f"{words.heads_count(local, heads)} {verb} local. "
        detail += f"Attention spread evenly would reach {words.tokens(even)}. "
        rule = "; local = less than half of what evenly spread attention would reach"
    detail += f"The far head has {mass[far]:.2f} of its attention on the first token"
    detail += ", which counts as distance here." if mass[far] > SINK else "."
    return Finding(
        key="reach",
        title="Local and far heads",
        sentence=words.sentence(
            f"{words.opening(len(scan.texts))}the most local head, {head_name(scan, near)}, looks "
            f"{words.tokens(distance[near])} away on average; the farthest, {head_name(scan, far)}, "
            f"{words.tokens(distance[far])}."
        ),
        detail=detail,
        quantity="distance of the most local head, in tokens",
        number=float(distance[near]),
        interval=interval(float(distance[near]), std[near], len(scan.texts)),
        texts=len(scan.texts),
        rule=f"distance between query and key, weighted by attention, mean over queries and texts{rule}",
        meaning="Local heads carry word order; a far head links distant words or rests on a sink.",
        code=f"with lens.edit(ZeroHeads([({scan.rows[near[0]].layer}, {near[1]})])): model(**x)",
    )
