"""Measuring a model on texts for the report."""

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from ..core import protocols
from ..lens import attach
from ..measure import Distance, Entropy, Received, SinkMass, SinkRate
from .data import Model, Row, Scan, Statistic, Text, to_array, to_table
from .findings import SINK, find
from .reading import reading

__all__ = ["Scan", "scan"]

MAPPED = ("sink_mass", "sink_rate", "entropy", "distance")


def scan(
    model: torch.nn.Module,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    max_tokens: int | None = None,
    batch_size: int = 8,
    name: str = "the model",
    revision: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Scan:
    """Measure what the model attends to in each text; `progress` is told how many texts are done.

    Raises ValueError for a text without tokens and for a model without self-attention.
    """
    begun = time.perf_counter()
    lens = attach(model, tokenizer)
    limit = _limit(model, tokenizer, max_tokens)
    batches = [lens.encode(list(texts[at : at + batch_size]), limit) for at in range(0, len(texts), batch_size)]
    statistics: list[protocols.Statistic] = [SinkMass(), SinkRate(SINK), Entropy(), Distance(), Received()]
    measured = lens.measure(batches, statistics, progress)
    rows = [index for index, site in enumerate(measured.sites) if site.role == "self"]
    if not rows:
        raise ValueError("the model has no self-attention that can be measured")
    found = _texts(batches, measured["received"].examples, rows)
    result = Scan(
        model=_model(model, name, revision),
        versions=_versions(),
        settings={"max_tokens": limit, "batch_size": batch_size, "sink_threshold": SINK},
        reading=reading([to_array(text.received) for text in found]),
        rows=[_row(measured.sites[index], place) for place, index in enumerate(rows)],
        special=sorted({token for text in found for token in text.tokens} & set(tokenizer.all_special_tokens)),
        texts=found,
        statistics={name: _statistic(measured[name], rows) for name in MAPPED},
        findings=[],
        deviation=measured.deviation,
        seconds=time.perf_counter() - begun,
    )
    return replace(result, findings=find(result))


def _limit(model: torch.nn.Module, tokenizer: Any, wished: int | None) -> int | None:
    """How many tokens a text may have: what was wished, at most what tokenizer and model can take."""
    config = getattr(model, "config", None)
    text_config = config.get_text_config() if config is not None else None
    bounds = [
        wished,
        getattr(tokenizer, "model_max_length", None),
        getattr(text_config, "max_position_embeddings", None),
    ]
    known = [bound for bound in bounds if bound is not None and bound < 10**9]
    return min(known) if known else None


def _texts(batches: Sequence[Any], received: Sequence[torch.Tensor], rows: list[int]) -> list[Text]:
    """The texts without padding, with what each token received; `received` is [site, head, key] per text."""
    found, examples = [], iter(received)
    for batch in batches:
        for tokens, valid, cut in zip(batch.tokens, batch.valid.cpu(), batch.truncated, strict=True):
            here = next(examples)[rows].double().nanmean(dim=1)[:, valid]
            kept = [token for token, real in zip(tokens, valid.tolist(), strict=True) if real]
            found.append(Text(kept, cut, to_table(here.numpy())))
    return found


def _statistic(result: Any, rows: list[int]) -> Statistic:
    """A result as tables, of the chosen sites."""
    return Statistic(to_table(result.mean[rows].numpy()), to_table(result.std[rows].numpy()), result.count)


def _row(site: Any, place: int) -> Row:
    """The site as data; where it names no layer its place stands in."""
    layer = place if site.layer is None else site.layer
    return Row(site.path, layer, site.role, site.part, site.heads, site.tier)


def _model(model: torch.nn.Module, name: str, revision: str | None) -> Model:
    """What there is to say of the model itself."""
    first = next(model.parameters())
    return Model(
        name=name,
        revision=revision,
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
