"""Measuring what a model attends to, for the report."""

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from ..core import protocols
from ..core.call import Site
from ..lens import Measurement, attach
from ..lens.inputs import Inputs
from ..measure import Distance, EffectiveKeys, Entropy, HeadSimilarity, MaxWeight, SinkMass, SinkRate
from .checkup import checkup
from .data import (
    Areas,
    Array,
    Cards,
    Check,
    Example,
    Massive,
    Model,
    Pair,
    Part,
    Row,
    Scan,
    Sink,
    SourceMass,
    Statistic,
    to_array,
    to_table,
)
from .examples import Shown, chosen, show
from .feed import Feed, feed
from .findings import ALIKE, SINK, Seen, find
from .intervals import FEWEST
from .parts import Found, parts, title
from .peak import peak_bytes
from .reading import reading
from .redact import redacted
from .residual import strongest
from .steps import Progress, Steps
from .whereabouts import AREAS, Whereabouts

__all__ = ["Scan", "scan"]

MAPPED = ("sink_mass", "sink_rate", "entropy", "distance", "max_weight", "effective_keys")
PAIRS = 20
DECODER = (
    "the decoder was fed the text itself, one token later and after its start token: in the lines of code, x has "
    "decoder_input_ids that are input_ids, so shifted"
)


def scan(
    model: torch.nn.Module,
    processor: Any,
    given: Any = None,
    *,
    images: Any = None,
    max_tokens: int | None = None,
    batch_size: int = 8,
    name: str | None = None,
    revision: str | None = None,
    command: str = "",
    redact: bool = False,
    edits: Sequence[protocols.Edit] = (),
    doctor: bool = False,
    told: Callable[[list[Check]], None] | None = None,
    progress: Progress | None = None,
) -> Scan:
    """Measure what a model attends to in texts, conversations or images, or in inputs that `lens.encode` made.

    `given` is as for `lens.encode`, several texts at best; an encoder-decoder's decoder is fed the text itself, one
    token later and after its start token. With `edits`, the edited attention is measured. With `doctor`, its cheap
    checks come first, on the model without edits; `told` hears what they found before anything is measured, and a
    failed one stops nothing. `progress` is told how many steps are done, and of how many. With `redact`, texts, tokens
    and images are left out of the result. Raises ValueError for a text without tokens and for a model without attention
    that can be measured.
    """
    begun = time.perf_counter()
    lens = attach(model, processor)
    limit = _limit(lens.model, processor, max_tokens)
    items = feed(lens, given, images, limit, batch_size)
    if max_tokens is not None and (any(items.pictures) or isinstance(given, Mapping)):
        raise ValueError("max_tokens cuts texts, and neither images, texts with images nor inputs that are ready")
    checks = checkup(lens, items) if doctor else []
    if told is not None:
        told(checks)
    found = parts(lens, items.encode([next((place for place, own in enumerate(items.pictures) if own), 0)]))
    sites = [site for one in found for site in one.sites]
    sizes = [max(facts[0], 1) for facts in items.facts]  # images alone count one each
    places = [chosen(items, len(one.sites), one) for one in found]
    size = sum(sum(sizes) + sum(sizes[place] for place in shown_here) for shown_here in places)
    steps = Steps(lens.model, sites, progress, len(sites) * size)
    measured: list[Part] = []
    seen = []
    examples: list[Example] = []
    massive: list[Massive] = []
    sinks: list[Sink] = []
    sources: list[SourceMass] = []
    deviations = []
    for index, one in enumerate(found):
        shown: list[Shown] = []
        with lens.edit(*edits):
            with steps.stage(sum(sizes)):
                statistics = _statistics(_is_text(one, items))
                result = lens.measure(_batches(items, steps), statistics, part=one.name, role=one.role)
            for place in places[index]:
                steps.tokens = sizes[place]
                with steps.stage(sizes[place]):
                    shown.append(show(lens, items, place, one, index, len(examples) + len(shown), with_cards=not shown))
        part = _part(one, result, shown, items, title(one, found, items.unit == "image"), measured)
        measured.append(part)
        examples += [each.example for each in shown]
        massive += [each for one_shown in shown for each in one_shown.massive]
        sinks += [each for one_shown in shown for each in one_shown.stream_sinks]
        sources += [one_shown.source for one_shown in shown if one_shown.source]
        deviations += [result.deviation, *(each.deviation for each in shown)]
        seen.append(_seen(one, result, shown, items, part))
    tokens = {token for example in examples for token in example.tokens}
    whole = Scan(
        model=_model(lens.model, name, revision),
        versions=_versions(),
        settings=_settings(items, limit, batch_size),
        command=command,
        unit=items.unit,
        truncated=sum(cut > 0 for _, cut, _ in items.facts),
        parts=measured,
        examples=examples,
        massive=strongest(massive),
        sinks=sinks,
        sources=sources,
        special=sorted(tokens & set(_tokenizer_tokens(processor))),
        findings=[],
        checks=checks,
        deviation=float(np.nanmax(deviations)) if not np.isnan(deviations).all() else float("nan"),
        notes=[*lens.notes, *([DECODER] if any(one.name == "decoder" for one in found) else [])],
        seconds=time.perf_counter() - begun,
        peak_bytes=peak_bytes(next(lens.model.parameters()).device),
        redacted=redact,
    )
    whole = replace(whole, findings=find(whole, seen))
    return redacted(whole) if redact else whole


def _batches(items: Feed, steps: Steps) -> Iterator[Inputs]:
    """Batches one by one, so that images are not held all at once."""
    for batch in items.batches():
        steps.tokens = int(batch.valid.sum()) or len(batch.tokens)
        yield batch


def _is_text(found: Found, items: Feed) -> bool:
    """Whether the keys of a part are tokens of text."""
    return found.name != "vision" and items.unit != "image"


def _statistics(text: bool) -> list[protocols.Statistic]:
    return [
        SinkMass(),
        SinkRate(SINK),
        Entropy(),
        Distance(),
        MaxWeight(),
        EffectiveKeys(),
        HeadSimilarity(centred=True),
        Whereabouts(text),
    ]


def _part(found: Found, result: Measurement, shown: list[Shown], items: Feed, called: str, before: list[Part]) -> Part:
    """One attention as data."""
    statistics = {name: _statistic(result[name].mean, result[name].std, result[name].counts) for name in MAPPED}
    whereabouts = result["whereabouts"]
    for name, entry in (("entropy|no_sinks", -2), ("distance|no_sinks", -1)):
        mean, std = whereabouts.mean[..., entry], whereabouts.std[..., entry]
        statistics[name] = _statistic(mean, std, whereabouts.counts[..., entry])
    similarity = result["centred_head_similarity"].mean
    text = _is_text(found, items)
    lengths = (
        [facts[0] for facts in items.facts] if text else [len(shown[0].example.tokens)] * statistics["entropy"].texts
    )
    spread = {"similarity": to_table(_of_pairs(similarity)[:, None])}
    for name in ("sink_mass", "entropy"):
        spread[name] = _variation(statistics[name])
    cards = shown[0].cards
    if cards is not None and found.role == "cross":
        cards = replace(cards, text=_asking(before, cards))
    return Part(
        name=found.name,
        role=found.role,
        title=called,
        reading=reading([one.raw for one in shown]),
        lengths=lengths,
        rows=[_row(site) for site in result.sites],
        statistics=statistics,
        areas=_areas(whereabouts.mean),
        pairs=_pairs(similarity, result.sites),
        spread=spread,
        cards=cards,
    )


def _asking(before: list[Part], cards: Cards) -> int:
    """The example whose tokens are the queries of a cross-attention: that of the self-attention before it."""
    own = next((part.cards for part in reversed(before) if part.role == "self" and part.cards), None)
    return cards.text if own is None else own.text


def _statistic(mean: torch.Tensor, std: torch.Tensor, counts: torch.Tensor) -> Statistic:
    """A statistic as data, with the fewest texts that a number of it is over: windows of one image are no texts."""
    there = counts[~counts.isnan()]
    return Statistic(to_table(mean.numpy()), to_table(std.numpy()), int(there.min()))


def _variation(statistic: Statistic) -> list[list[float | None]]:
    """The coefficient of variation over texts [layer, head]; empty for fewer texts than an interval needs."""
    if statistic.texts < FEWEST:
        return []
    mean, std = to_array(statistic.mean), to_array(statistic.std)
    return to_table(np.divide(std, mean, out=np.full_like(mean, np.nan), where=mean > 0))


def _areas(mean: torch.Tensor) -> Areas:
    """The areas that occur, of every layer, mean over heads."""
    shares = mean[..., : len(AREAS)].nanmean(1).numpy()
    there = [place for place, _ in enumerate(AREAS) if np.nanmax(shares[:, place]) > 1e-4]
    kept = np.clip(shares[:, there], 0, None)
    return Areas([AREAS[place] for place in there], to_table(kept / kept.sum(1, keepdims=True)))


def _of_pairs(similarity: torch.Tensor) -> Array:
    """Mean similarity of the pairs of heads of each layer; NaN for a layer of one head."""
    off = similarity.masked_fill(torch.eye(similarity.shape[-1], dtype=torch.bool), torch.nan)
    return off.flatten(1).nanmean(1).numpy().astype(np.float64)


def _pairs(similarity: torch.Tensor, sites: list[Site]) -> list[Pair]:
    """The heads that are most alike."""
    upper = similarity.triu(1) - 2 * torch.ones_like(similarity).tril()
    flat = upper.nan_to_num(-2.0).flatten()
    top = flat.topk(min(PAIRS, flat.numel()))
    heads = similarity.shape[-1]
    found = []
    for value, place in zip(top.values.tolist(), top.indices.tolist(), strict=True):
        if value > -1.5:
            row, pair = divmod(place, heads * heads)
            a, b = divmod(pair, heads)
            found.append(Pair(sites[row].layer, a, b, value))
    return found


def _seen(found: Found, result: Measurement, shown: list[Shown], items: Feed, part: Part) -> Seen:
    """What findings need and the report does not keep."""
    if not _is_text(found, items) or (found.name == "decoder" and found.role == "self"):
        firsts = [shown[0].example.tokens[0]] * len(part.lengths)
    else:
        firsts = [first for _, _, first in items.facts]
    sinks = Counter(one.example.tokens[place] for one in shown for place in one.sinks)
    areas = result["whereabouts"].std[..., : len(AREAS)]
    labels = [label for one in shown for label in one.example.segments]
    images = sum(label.startswith("image") for label in labels) / len(labels)
    std = {name: float(areas[..., AREAS.index(name)].nanmean()) for name in part.areas.names}
    similarity = result["centred_head_similarity"]
    upper = torch.ones_like(similarity.mean).triu(1).bool() & ~similarity.mean.isnan()
    first = part.pairs[0] if part.pairs else None
    row = next((place for place, site in enumerate(result.sites) if first and site.layer == first.layer), 0)
    return Seen(
        firsts=firsts,
        sinks=[token for token, _ in sinks.most_common()],
        area_std=std,
        image_tokens=images,
        where=found.where,
        pairs=int(upper.sum()),
        alike=int((similarity.mean[upper] > ALIKE).sum()),
        pair_std=float(similarity.std[row, first.a, first.b]) if first else float("nan"),
    )


def _limit(model: torch.nn.Module, processor: Any, wished: int | None) -> int | None:
    """How many tokens a text may have: what was wished, at most what tokenizer and model can take."""
    config: Any = getattr(model, "config", None)
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else None
    bounds = [
        wished,
        getattr(getattr(processor, "tokenizer", processor), "model_max_length", None),
        getattr(text_config, "max_position_embeddings", None),
    ]
    known = [bound for bound in bounds if isinstance(bound, int) and bound < 10**9]
    return min(known) if known else None


def _settings(items: Feed, limit: int | None, batch_size: int) -> dict[str, Any]:
    settings: dict[str, Any] = {"max_tokens": limit, "batch_size": batch_size, "sink_threshold": SINK}
    if any(items.pictures):
        settings["images"] = sum(len(own) for own in items.pictures)
    return settings


def _tokenizer_tokens(processor: Any) -> list[str]:
    """Special tokens as the tokenizer writes them."""
    return list(getattr(getattr(processor, "tokenizer", processor), "all_special_tokens", []))


def _row(site: Site) -> Row:
    return Row(site.path, site.layer, site.role, site.part, site.heads, site.tier)


def _model(model: torch.nn.Module, name: str | None, revision: str | None) -> Model:
    """What there is to say of the model itself."""
    first = next(model.parameters())
    config: Any = getattr(model, "config", None)
    return Model(
        name=name or getattr(config, "name_or_path", "") or type(model).__name__,
        revision=revision or getattr(config, "_commit_hash", None),
        architecture=type(model).__name__,
        dtype=str(first.dtype).removeprefix("torch."),
        device=str(first.device),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def _versions() -> dict[str, str]:
    """Versions of what took part."""
    return {package: _version(package) for package in ("regard", "torch", "transformers")} | {
        "python": platform.python_version()
    }


def _version(package: str) -> str:
    """The version of an installed package; `not installed` where it runs from a folder."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
