"""Findings in plain words, each with its number, interval, texts, rule, meaning and a line of code."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from . import words
from .data import Finding, Part, Scan, Sink, to_array
from .intervals import interval
from .reading import even_distance
from .tables import depth, head_name, longest_run, place, spread, table
from .tokens import name
from .whereabouts import LAST, SHARE, TIMES_EVEN

SINK = 0.3
BAND = 0.75
SHORTEST = math.ceil(2 / SINK)  # the sink rate leaves out texts with fewer tokens
ALIKE = 0.9
MOST = 5
NAMES = {
    "first": "the first token",
    "other sinks": "other sinks",
    "image": "the image",
    "system": "the system's message",
    "user": "the user's messages",
    "assistant": "the assistant's messages",
    "last 16": f"the last {LAST} tokens up to the query",
    "rest": "all others",
    "sink logit": "no token at all",
}


@dataclass(frozen=True)
class Seen:
    """What findings about a part need beside its tables.

    `firsts` is the first token of each text, `sinks` the tokens after it that are sinks in the examples, most frequent first;
    `area_std` is over texts, by area, and `image_tokens` the share of image tokens among all. `where` is what a line of code
    passes on to mean this part. `alike` of `pairs` pairs of heads are more alike than `ALIKE`; `pair_std` is that of the
    most similar pair, over texts.
    """

    firsts: list[str]
    sinks: list[str]
    area_std: dict[str, float]
    image_tokens: float
    where: str
    pairs: int
    alike: int
    pair_std: float


def find(scan: Scan, seen: Sequence[Seen]) -> list[Finding]:
    """The findings of a scan, the most telling first: of the part that writes the output, then of each other part."""
    found = []
    for index, one in enumerate(seen):
        main = index == 0
        told = [
            sink(scan, index, one),
            image(scan, index, one) if main else None,
            goes(scan, index, one),
            marked(scan, index, one),
            sharpness(scan, index, one),
            reach(scan, index, one) if main else None,
            redundancy(scan, index, one) if main else None,
        ]
        found += [finding for finding in told if finding][:MOST]
    return found


def sink(scan: Scan, index: int, seen: Seen) -> Finding:
    """The heads and layers that leave more than `SINK` of their attention on the first token."""
    part = scan.parts[index]
    mass, std = table(part, "sink_mass")
    by_layer = np.nanmean(mass, axis=1)
    rows = longest_run(by_layer > max(SINK, BAND * by_layer.max()))
    first = words.first_tokens(seen.firsts, _unit(scan, index), hidden=_hidden(scan, seen.firsts))
    over, heads = int((mass > SINK).sum()), int(np.isfinite(mass).sum())
    if rows:
        told = words.layers([part.rows[row].layer for row in rows], depth(part))
        inside = mass[rows]
        statement = f"{first} takes {spread(by_layer[rows])} of all attention in {told}"
        wide = int((by_layer > SINK).sum())
        statement += f", and more than {SINK} in {wide} of {len(by_layer)}." if wide > len(rows) else "."
        rest = np.delete(by_layer, rows)
        resting = float(np.mean(mass[mass > SINK])) if over else 0.0
        detail = (
            f"{words.heads_count(int((inside > SINK).sum()), int(np.isfinite(inside).sum()))} there put more "
            f"than {SINK} on it ({over} of {heads} in {_whole(scan, index)}, mean {resting:.2f})."
        )
        detail += f" In the other layers it takes {spread(rest)}." if rest.size else ""
        quantity, number, stds = "mean mass in these layers", np.nanmean(inside), std[rows]
    else:
        top = int(by_layer.argmax())
        statement = (
            f"no layer leaves more than {SINK} of its attention on the first token: {first} takes "
            f"{spread(by_layer)}, most in {words.layers([part.rows[top].layer], depth(part))}."
        )
        detail = f"{words.heads_count(over, heads)} by themselves put more than {SINK} on it."
        quantity, number, stds = "mean mass over all heads", np.nanmean(mass), std
    texts = part.statistics["sink_mass"].texts
    return Finding(
        key="sink",
        part=index,
        title=("A sink on the first token" if rows else "No sink on the first token") + _of(scan, index),
        sentence=_sentence(scan, index, statement),
        detail=f"{detail} {_sink_rate(part, _unit(scan, index))}",
        quantity=quantity,
        number=float(number),
        interval=interval(float(number), stds, texts),
        texts=len(part.lengths),
        rule=f"longest run of layers that put more than {SINK} on the first token, and at least {BAND} times "
        f"as much as the strongest layer; means over heads, queries and {_unit(scan, index)}s",
        meaning=_sink_meaning(scan, seen, bool(rows)),
        code=f"with lens.edit(regard.Redistribute(take_from='first', give_to='rest', move=0.6{seen.where})): model(**x)"
        if rows
        else f"lens.measure(x, [regard.SinkMass()]{seen.where})['sink_mass'].mean  # [layer, head]",
    )


def _sink_rate(part: Part, unit: str) -> str:
    """The sink rate with what it depends on: epsilon, mean mass and lengths."""
    rate, mass = table(part, "sink_rate")[0], table(part, "sink_mass")[0]
    told = f"mean mass {np.nanmean(mass):.2f}, {words.between(min(part.lengths), max(part.lengths), 0)} tokens each."
    if not np.isfinite(rate).any():
        return f"No sink rate: nothing here has {SHORTEST} tokens or more, {told}"
    return f"Sink rate at ε = {SINK}: {np.nanmean(rate):.2f} of all heads and {unit}s, {told}"


def _sink_meaning(scan: Scan, seen: Seen, found: bool) -> str:
    """What the sink finding means for a reader."""
    if not found:
        return "Heads do not rest on the first token here; what receives most after it may take its place."
    made = all(token in scan.special for token in seen.firsts)
    if made:
        origin = "The tokenizer puts this token there"
    elif any(token in ("class token", "patch 0") for token in seen.firsts):
        origin = "It stands before the patches" if seen.firsts[0] == "class token" else "It is a patch of the image"
    else:
        origin = "It is a word that happens to stand first"
    return (
        f"{origin}, and these heads leave much of their attention on it. Such a sink is usually read as a "
        "resting place for heads that find nothing to fetch: a large weight here is not importance."
    )


def goes(scan: Scan, index: int, seen: Seen) -> Finding:
    """The areas that attention goes to, over all layers, and how they change with depth."""
    part = scan.parts[index]
    shares = to_array(part.areas.shares)
    names = part.areas.names
    mean = shares.mean(0)
    order = [at for at in np.argsort(-mean, kind="stable") if mean[at] >= 0.005]
    told = [f"{_area(scan, names[at], seen)} {mean[at]:.2f}" for at in order]
    third = max(1, len(shares) // 3)
    early, late = shares[:third].mean(0), shares[-third:].mean(0)
    most = int(np.abs(late - early).argmax())
    moved = f"What changes most with depth is the share of {NAMES[names[most]]}: {early[most]:.2f} in the first "
    moved += f"{_layers(third)}, {late[most]:.2f} in the last."
    if abs(late[most] - early[most]) < 0.01:
        moved = "It is much the same from the first layers to the last."
    top = int(order[0])
    texts = part.statistics["sink_mass"].texts
    return Finding(
        key="areas",
        part=index,
        title="Where attention goes" + _of(scan, index),
        sentence=_sentence(scan, index, f"of all attention, {words.listed(told)}."),
        detail=moved,
        quantity=f"share of {NAMES[names[top]]}",
        number=float(mean[top]),
        interval=interval(float(mean[top]), seen.area_std[names[top]], texts),
        texts=len(part.lengths),
        rule=f"mean over layers, heads, queries and {_unit(scan, index)}s; each key counts once, for the first that fits of "
        f"first, other sinks (more than {SHARE} of a layer's attention and {TIMES_EVEN:.0f} times an even share), image, roles, "
        f"last {LAST}, rest",
        meaning="What goes to sinks is spent on resting places; what is left shows how far a token looks for its context.",
        code=f"lens.measure(x, [regard.Mass('rest')]{seen.where})['mass[rest]'].mean  # all but the first token",
    )


def marked(scan: Scan, index: int, seen: Seen) -> Finding | None:
    """The sinks of the residual stream, with what begins later than the first one; None where no token becomes massive."""
    part = scan.parts[index]
    own = [one for one in scan.sinks if scan.examples[one.text].part == index and one.kind != "unmarked"]
    if not own:
        return None
    total = depth(part)
    first = next(one for one in own if one.kind == "primary")
    later = [one for one in own if one.kind == "secondary"]
    with_later = len({one.text for one in later})
    texts = len({place for place, example in enumerate(scan.examples) if example.part == index})
    life = words.layers(list(range(first.start, first.start + first.lifetime)), total)
    statement = f"{_marked_token(scan, first)} is massive behind {life}: the primary sink of the residual stream."
    if later:
        most = max(later, key=lambda one: (one.lifetime, one.norm))
        statement += (
            f" {len(later)} other token{' comes' if len(later) == 1 else 's come'} to point where it does in a later layer "
            f"(secondary sinks): {_marked_token(scan, most)} behind {words.layers([most.start], total)}, and "
            f"{most.lifetime} layers long, at {most.norm:.2f} of its norm."
        )
    dims = list(dict.fromkeys(one.dim for one in scan.massive if (one.text, one.token) == (first.text, first.token)))
    values = ", ".join(str(dim) for dim in dims[:4])
    detail = f"Its massive activations are in the dimension{'' if len(dims) == 1 else 's'} {values}. " if dims else ""
    detail += f"{with_later} of {texts} {_unit(scan, index)}s that were looked at have a secondary sink."
    return Finding(
        key="marked",
        part=index,
        title=("Sinks that begin later" if later else "What marks the sink") + _of(scan, index),
        sentence=_sentence(scan, index, statement),
        detail=detail,
        quantity=f"share of {_unit(scan, index)}s with a secondary sink",
        number=with_later / texts,
        interval=None,
        texts=texts,
        rule="primary: the norm of one of the first two tokens rises in a layer by at least 3 norms of an ordinary token; "
        "secondary: a cosine with it above 0.9 that begins at least 2 layers later and lasts at least 3 layers and a tenth of "
        "the depth (arXiv 2512.22213)",
        meaning="Heads know a sink by these few large numbers. One that begins later is written by the feed-forward layer "
        "before it, and draws attention while it lasts; most are spaces, digits, or commas in long texts.",
        code="from regard.lens.sink_atlas import sink_atlas; sink_atlas(lens, texts).rows()",
    )


def _marked_token(scan: Scan, one: Sink) -> str:
    """A sink's token in words, or its place where tokens are not to be named."""
    token = scan.examples[one.text].tokens[one.token]
    return f"the token at position {one.token}" if _hidden(scan, [token]) else name(token)


def _area(scan: Scan, area: str, seen: Seen) -> str:
    """An area in words that lead to its number."""
    named = [name(token) for token in seen.sinks[:3] if not _hidden(scan, [token])]
    which = f" ({', '.join(named)})" if area == "other sinks" and named else ""
    verb = "get" if area in ("other sinks", "rest", "last 16") or area.endswith(("user", "assistant")) else "gets"
    return f"{NAMES[area]}{which} {verb}"


def _layers(count: int) -> str:
    return "layer" if count == 1 else f"{count} layers"


def image(scan: Scan, index: int, seen: Seen) -> Finding | None:
    """How much goes to the image, against its share of the tokens."""
    part = scan.parts[index]
    if "image" not in part.areas.names or scan.unit == "image":
        return None
    at = part.areas.names.index("image")
    shares = to_array(part.areas.shares)[:, at]
    top = int(shares.argmax())
    statement = (
        f"the image gets {shares.mean():.2f} of the attention, with {seen.image_tokens:.2f} of the tokens; "
        f"most in {words.layers([part.rows[top].layer], depth(part))}, {shares[top]:.2f}."
    )
    texts = part.statistics["sink_mass"].texts
    return Finding(
        key="image",
        part=index,
        title="How much goes to the image",
        sentence=_sentence(scan, index, statement),
        detail=f"Layer by layer it is {spread(shares)}.",
        quantity="share of the image, mean over layers",
        number=float(shares.mean()),
        interval=interval(float(shares.mean()), seen.area_std["image"], texts),
        texts=len(part.lengths),
        rule="attention to image tokens that are no sinks, mean over layers, heads, queries and texts",
        meaning="Text that gets most of the attention can outweigh what is in the image; whether it does shows in the "
        "output, not here.",
        code="lens.measure(x, [regard.Mass('image')])['mass[image]'].mean  # [layer, head]",
    )


def sharpness(scan: Scan, index: int, seen: Seen) -> Finding:
    """The heads with the lowest and the highest entropy."""
    part = scan.parts[index]
    entropy, std = table(part, "entropy")
    mass, _ = table(part, "sink_mass")
    low, high = place(entropy, np.nanargmin(entropy)), place(entropy, np.nanargmax(entropy))
    share = mass[low]
    resting = (
        f"It rests on the first token ({share:.2f} of its attention), so it is idle rather than selective."
        if share > SINK
        else f"It looks elsewhere than at the first token, which gets {share:.2f} of its attention."
    )
    return Finding(
        key="sharpness",
        part=index,
        title="The sharpest and the flattest head" + _of(scan, index),
        sentence=_sentence(
            scan,
            index,
            f"the sharpest head, {head_name(part, low)}, looks at about "
            f"{words.tokens(math.exp(entropy[low]))} at a time; the flattest, {head_name(part, high)}, at "
            f"about {words.tokens(math.exp(entropy[high]))}.",
        ),
        detail=f"{resting} Entropy {entropy[low]:.2g} against {entropy[high]:.2g} nats; mean over all heads "
        f"{np.nanmean(entropy):.2g}.",
        quantity="entropy of the sharpest head, in nats",
        number=float(entropy[low]),
        interval=interval(float(entropy[low]), std[low], part.statistics["entropy"].texts),
        texts=len(part.lengths),
        rule=f"entropy of each query's attention, mean over queries and {_unit(scan, index)}s; e to "
        "that power is the number of tokens",
        meaning="A sharp head looks at one or a few tokens per query, a flat one averages over many. Neither "
        "says how much the head matters.",
        code=f"lens.weights(x, layer={part.rows[low[0]].layer}, heads=[{low[1]}]{seen.where})  # its exact rows",
    )


def reach(scan: Scan, index: int, seen: Seen) -> Finding | None:
    """The heads that look nearest and farthest; None for images, whose patches stand in no line."""
    part = scan.parts[index]
    if scan.unit == "image" or not np.isfinite(table(part, "distance")[0]).any():
        return None
    distance, std = table(part, "distance")
    mass, _ = table(part, "sink_mass")
    near, far = place(distance, np.nanargmin(distance)), place(distance, np.nanargmax(distance))
    heads, detail, rule = int(np.isfinite(distance).sum()), "", ""
    if part.reading != "other":
        even = float(np.mean([even_distance(part.reading, length) for length in part.lengths]))
        local = int((distance < even / 2).sum())
        verb = "is" if local == 1 else "are"
        detail = f"{words.heads_count(local, heads)} {verb} local. "
        detail += f"Attention spread evenly would reach {words.tokens(even)}. "
        rule = "; local = less than half of what evenly spread attention would reach"
    detail += f"The far head has {mass[far]:.2f} of its attention on the first token"
    detail += ", which counts as distance here." if mass[far] > SINK else "."
    return Finding(
        key="reach",
        part=index,
        title="Local and far heads" + _of(scan, index),
        sentence=_sentence(
            scan,
            index,
            f"the most local head, {head_name(part, near)}, looks "
            f"{words.tokens(distance[near])} away on average; the farthest, {head_name(part, far)}, "
            f"{words.tokens(distance[far])}.",
        ),
        detail=detail,
        quantity="distance of the most local head, in tokens",
        number=float(distance[near]),
        interval=interval(float(distance[near]), std[near], part.statistics["distance"].texts),
        texts=len(part.lengths),
        rule=f"distance between query and key, weighted by attention, mean over queries and texts{rule}",
        meaning="Local heads carry word order; a far head links distant words or rests on a sink.",
        code=f"with lens.edit(regard.ZeroHeads([({part.rows[near[0]].layer}, {near[1]})])): model(**x)",
    )


def redundancy(scan: Scan, index: int, seen: Seen) -> Finding | None:
    """The heads of a layer that do the same; None for layers of one head."""
    part = scan.parts[index]
    if not part.pairs:
        return None
    top = part.pairs[0]
    mean = np.nanmean(to_array(part.spread["similarity"]))
    share = seen.alike / seen.pairs
    return Finding(
        key="redundancy",
        part=index,
        title="Heads that do the same" + _of(scan, index),
        sentence=_sentence(
            scan,
            index,
            f"{seen.alike} of {seen.pairs} pairs of heads in a layer are more alike than {ALIKE} ({share:.0%}); most alike are "
            f"L{top.layer}H{top.a} and {words.head(top.layer, top.b)}, {top.similarity:.2f}.",
        ),
        detail=f"The mean over all pairs is {mean:.2f}, where 0 is unrelated and 1 the same.",
        quantity="similarity of the most similar pair",
        number=top.similarity,
        interval=_within(interval(top.similarity, seen.pair_std, part.statistics["entropy"].texts)),
        texts=len(part.lengths),
        rule="cosine between the maps of two heads of a layer, each after subtracting even attention, in each text; mean over "
        f"{_unit(scan, index)}s",
        meaning="Heads that look at the same places may still fetch different things; two that are alike are the first "
        "candidates to try without.",
        code=f"with lens.edit(regard.ZeroHeads([({top.layer}, {top.b})])): model(**x)",
    )


def _within(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """An interval of a cosine, which is never above 1."""
    return None if interval is None else (interval[0], min(interval[1], 1.0))


def _hidden(scan: Scan, tokens: Sequence[str]) -> bool:
    """Whether these tokens are not to be named: in a redacted scan, all but the special ones."""
    known = {*scan.special, "class token", "patch 0"}
    return scan.redacted and not set(tokens) <= known


def _sentence(scan: Scan, index: int, statement: str) -> str:
    where = "" if index == 0 else f"in {scan.parts[index].title}, "
    return words.sentence(words.opening(len(scan.parts[index].lengths), _unit(scan, index)) + where + statement)


def _unit(scan: Scan, index: int) -> str:
    """What a part was measured on, one by one."""
    return "image" if scan.parts[index].name == "vision" else scan.unit


def _of(scan: Scan, index: int) -> str:
    return "" if index == 0 else f": {scan.parts[index].title}"


def _whole(scan: Scan, index: int) -> str:
    return "the whole model" if len(scan.parts) == 1 else scan.parts[index].title
