"""The few examples that a report shows whole: their tokens, what each receives, norms, and a card for each head."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.protocols import Statistic
from ..lens import Lens
from ..lens.inputs import Inputs
from ..segments import Grid, Segmentation, Vocabulary
from . import images
from .cross_mass import source_mass
from .data import Array, Cards, Example, Massive, Sink, SourceMass
from .feed import Feed
from .parts import Found, real
from .residual import Residual
from .whereabouts import FavouriteKeys, PerKey, WholeEvidence, spaced

MOST = 8  # examples of one part
CELLS = 200_000  # layer x token, over all examples of a part: what keeps the page small
BINS = 128


@dataclass(frozen=True)
class Shown:
    """What one example brings: itself, its card, and of each layer what its tokens receive [layer, token] and the sinks.

    `raw` is what `received` was before it was quantised; `sinks` are positions of sinks after the first, by attention, and
    `stream_sinks` those of the residual stream. `source` is where cross-attention goes.
    """

    example: Example
    cards: Cards | None
    massive: list[Massive]
    raw: Array
    sinks: list[int]
    stream_sinks: list[Sink]
    source: SourceMass | None
    deviation: float


def chosen(feed: Feed, layers: int, part: Found) -> list[int]:
    """Return which examples are shown: from the first on, as many as fit, at least one."""
    places: list[int] = []
    cells = 0
    for place in range(len(feed)):
        cells += layers * max(feed.facts[place][0], 1)
        if places and (cells > CELLS or len(places) == MOST):
            break
        if part.name != "vision" or feed.sees(place):
            places.append(place)
    return places


def show(lens: Lens, feed: Feed, place: int, part: Found, index: int, number: int, with_cards: bool) -> Shown:
    """Measure one example of a part; `index` is the part's place in the scan, `number` the example's."""
    x = feed.encode([place])
    carded = with_cards and (part.name != "vision" or "image_grid_thw" not in x)  # windows come one by one
    residual = Residual(x, part, number)
    with residual.read(lens.model):
        wanted: list[Statistic] = [PerKey(), WholeEvidence(), *([FavouriteKeys()] if carded else [])]
        found = lens.measure(x, wanted, part=part.name, role=part.role)
    per_key = _joined(found["per_key"].values["joined"], x, part)
    received = per_key[..., 0].nanmean(1).numpy().astype(np.float64)
    flagged = (per_key[..., 2].nan_to_num() > 0).flatten(0, 1).any(0)
    tokens, segments, truncated = _tokens(x, part, received.shape[1])
    example = Example(
        kind="image" if part.name == "vision" or feed.unit == "image" else "text",
        part=index,
        title=f"{feed.unit} {place + 1}",
        tokens=tokens,
        segments=segments,
        truncated=truncated,
        **_quantised("received", "scale", received),
        norms=None,
        norm_scale=None,
        image=None,
        grid=None,
        patches=None,
    )
    example = _pictured(example, lens, feed, place, x, part)
    evidence = _joined(found["whole_evidence"].values["joined"], x, part)
    norms, massive, stream_sinks = residual.of(evidence[:, :, : received.shape[1]])
    if norms is not None:
        example = replace(example, **_quantised("norms", "norm_scale", norms))
    cards = _cards(found["favourite_keys"].values["first"], x, part, per_key[..., 0], number) if carded else None
    sinks = flagged.nonzero().flatten().tolist()
    crossed = part.name == "decoder" and part.role == "cross"
    source = source_mass(lens, feed, x, per_key[..., 0], number) if crossed else None
    return Shown(example, cards, massive, received, sinks, stream_sinks, source, found.deviation)


def _joined(values: Any, x: Inputs, part: Found) -> Tensor:
    """The values [layer, head, key, entry] of the tokens of one example, and of its first image alone."""
    assert isinstance(values, Tensor)
    if part.name == "vision" and "image_grid_thw" in x:
        return values[:, :, : int(x["image_grid_thw"][0].prod())]
    if part.name == "vision" and "pixel_values" in x and x["pixel_values"].ndim == 4:
        return values[:, :, : values.shape[2] // len(x["pixel_values"])]
    kept = real(x, part.name, part.role)
    return values if kept is None or len(kept) != values.shape[2] else values[:, :, kept]


def _tokens(x: Inputs, part: Found, count: int) -> tuple[list[str], list[str], int]:
    """The keys' tokens, the name of each, and how many were cut."""
    there = real(x, part.name, part.role)
    if there is None:
        others = count - _patch_count(x, count)
        names = [*(["class token"] if others else []), *(f"register {n}" for n in range(1, others))]
        names += [f"patch {n}" for n in range(count - len(names))]
        return names, ["first", *["special"] * max(others - 1, 0), *["image"] * (count - max(others, 1))], 0
    if part.name == "decoder" and part.role == "self" and "decoder_input_ids" in x:
        return *_target(x.segments.examples[0].vocabulary, x["decoder_input_ids"][0].cpu()[there]), x.truncated[0]
    kept = there.nonzero().flatten().tolist()
    tokens = [x.tokens[0][place] for place in kept]
    labels = x.segments.labels()[0]
    return tokens, ["first", *(labels[place] for place in kept[1:])], x.truncated[0]


def _target(vocabulary: Vocabulary, ids: Tensor) -> tuple[list[str], list[str]]:
    """The tokens of what a decoder is given, and the name of each: those of the source where it is the source, shifted."""
    told = vocabulary.recall(ids[1:])
    example = vocabulary.example(ids[1:]) if told is None else told
    labels = Segmentation([example], torch.ones(1, len(example), dtype=torch.bool)).labels()[0]
    return vocabulary.names(ids.tolist()), ["first", *labels]


def _patch_count(x: Mapping[str, Any], count: int) -> int:
    """The largest square, or the grid, that is in a number of tokens: all beyond it are no patches."""
    if "image_grid_thw" in x:
        return count
    side = int(count**0.5)
    return side * side if count - side * side <= 5 else count


def _pictured(example: Example, lens: Lens, feed: Feed, place: int, x: Inputs, part: Found) -> Example:
    """The example with its first image, where it has one."""
    if part.role == "cross" or part.name in ("encoder", "audio"):
        return example
    pictures = feed.pictures[place]
    image = pictures[0] if pictures else None
    grid: Grid | None
    if example.kind == "image":
        grid = images.seen(lens.model, lens.processor, x, image)
        spots = None if grid is None else images.patches(lens.model, x, grid, len(example.tokens))
    else:
        known = x.segments.examples[0].pictures if x.valid.shape[1] else ()
        grid = known[0].grid if known else None
        spots = known[0].tokens.tolist() if grid is not None else None
    picture = None if image is None else images.png(image, grid)
    size = None if grid is None or spots is None else (grid.rows, grid.columns)
    return replace(example, image=picture, grid=size, patches=spots if size else None)


def _cards(favourites: Any, x: Inputs, part: Found, received: Tensor, number: int) -> Cards:
    """The card of each head on one example, from its favourite keys [layer, head, query, rank, entry]."""
    keys_there, asking = (real(x, part.name, role) for role in (part.role, "self"))
    n = received.shape[2] if asking is None else int(asking.sum())
    start = 0 if keys_there is None else int(keys_there.long().argmax())
    keys, weights, bins = [], [], []
    for layer, columns in zip(favourites, received, strict=True):
        heads = [head for head in range(len(layer)) if not bool(columns[head].isnan().all())]
        keys.append([_ranks(layer[head], start) if head in heads else [] for head in range(len(layer))])
        weights.append([_shares(layer[head]) if head in heads else [] for head in range(len(layer))])
        bins.append([_binned(columns[head]) if head in heads else [] for head in range(len(layer))])
    return Cards(number, number, spaced(n), keys, weights, bins)


def _ranks(rows: Tensor, start: int) -> list[list[int]]:
    return [[int(key) - start for key, weight in row.tolist() if weight == weight] for row in rows]


def _shares(rows: Tensor) -> list[list[int]]:
    return [[round(weight * 255) for _, weight in row.tolist() if weight == weight] for row in rows]


def _binned(received: Tensor) -> list[int]:
    """What runs of keys receive, 0..255 of the largest but the first, which is cut there."""
    runs = torch.tensor_split(received.nan_to_num(), min(BINS, len(received)))
    means = np.array([float(run.mean()) for run in runs])
    top = means[1:].max(initial=0.0) or means.max(initial=0.0) or 1.0
    return np.clip(np.round(means / top * 255), 0, 255).astype(int).tolist()


def _quantised(name: str, scale: str, values: Array) -> dict[str, Any]:
    """Values [layer, token] as 0..255 of each layer's largest but the first token's, which is cut there, and that scale."""
    values = np.nan_to_num(values)
    tops = values[:, 1:].max(1, initial=0.0)
    tops = np.where(tops > 0, tops, np.maximum(values.max(1, initial=0.0), 1e-9))
    steps = np.clip(np.round(values / tops[:, None] * 255), 0, 255).astype(int)
    return {name: steps.tolist(), scale: [float(f"{top:.4g}") for top in tops]}
