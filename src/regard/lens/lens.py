"""`attach` and the lens that it returns."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core.call import Call, Site
from ..core.patchwork import Patchwork
from ..core.planner import edited, measured
from ..core.protocols import Edit, Statistic, Where
from ..core.reduce import Reducer
from ..core.session import Session
from ..core.terms import Block, Rows
from ..hosts import Tap
from ..segments import TokenSegments, rules
from .inputs import Inputs, encode
from .results import Measurement, gather

__all__ = ["Lens", "attach"]

Role = Literal["self", "cross"] | None
Probe = Callable[[Call, Patchwork], None]
"""Looks at each call and the attention that edits have left of it."""


def attach(model: nn.Module, processor: Any = None) -> "Lens":
    """Attach to a model: find its attention, change nothing.

    `processor` is its tokenizer, which `encode` needs and named segments of tokens. Raises TypeError for what is no torch
    module.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"a lens attaches to a torch.nn.Module, not to a {type(model).__name__}")
    return Lens(model, processor)


class Lens:
    """Measures and edits the attention of one model, whose attention is itself again after every context."""

    def __init__(self, model: nn.Module, processor: Any = None) -> None:
        self.model = model
        self.processor = processor
        self._rules = rules(processor)
        self._edits: list[Edit] = []
        self._applied: set[int] = set()
        self._probe: Probe | None = None
        self._heard = 0
        self._tap = Tap(model, self._handle, self._begin)

    def encode(self, texts: str | Sequence[str], max_tokens: int | None = None) -> Inputs:
        """Tokenise one text or several, padded to one length, on the model's device.

        Texts longer than `max_tokens` are cut. Raises ValueError for an empty text and for one that is longer than the
        model takes.
        """
        if self.processor is None:
            raise ValueError("encode needs a tokenizer: regard.attach(model, tokenizer)")
        texts = [texts] if isinstance(texts, str) else list(texts)
        return encode(self.processor, texts, max_tokens, self._limit(), self._device())

    def measure(
        self,
        x: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        statistics: Sequence[Statistic],
        progress: Callable[[int], None] | None = None,
        *,
        part: str | None = None,
        role: Role = "self",
    ) -> Measurement:
        """Run the model on inputs, one batch or several, and measure its attention, edits that are active included.

        `part` and `role` choose the attention as in `Where`; `progress` is told how many examples are done. Gradients are
        off, and a language-model head is not run.
        """
        names = [statistic.name for statistic in statistics]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"measure needs statistics with different names, not {names or 'none'}")
        where = Where(part=part, role=role)
        reducers: dict[Site, list[Reducer]] = {}
        worst = 0.0

        def probe(call: Call, patchwork: Patchwork) -> None:
            nonlocal worst
            if not where.at(call.site):
                return
            values, deviation = measured(call, patchwork, statistics, check=True)
            worst = max(worst, deviation)
            kept = reducers.setdefault(call.site, [statistic.reducer() for statistic in statistics])
            for reducer, name in zip(kept, names, strict=True):
                reducer.add(values[name])

        batches = [x] if isinstance(x, Mapping) else list(x)
        done = 0
        for batch in batches:
            with self._probing(probe):
                self._run(batch)
            done += len(next(value for value in batch.values() if torch.is_tensor(value)))
            if progress is not None:
                progress(done)
        sites = sorted(reducers, key=lambda site: (site.part, site.role or "", site.layer, site.use))
        if not sites:
            raise ValueError(self._nothing(part, role))
        results = [
            gather(statistic, sites, {site: reducers[site][place] for site in sites})
            for place, statistic in enumerate(statistics)
        ]
        return Measurement(sites, {result.name: result for result in results}, worst)

    def weights(
        self,
        x: Mapping[str, Any],
        layer: int,
        heads: Sequence[int] | None = None,
        queries: Sequence[int] | None = None,
        *,
        part: str | None = None,
        role: Role = "self",
    ) -> Tensor:
        """Return exact rows of the weights of one layer, [batch, head, query, key], edits that are active included.

        `queries` are indices into the padded sequence, from its end where negative; None means all. Raises IndexError for a
        layer, head or query that the model does not have.
        """
        where = Where(part=part, role=role)
        found: list[Tensor] = []
        layers: set[int] = set()

        def probe(call: Call, patchwork: Patchwork) -> None:
            if not where.at(call.site):
                return
            layers.add(call.site.layer)
            if call.site.layer != layer:
                return
            chosen = _indices(heads, call.op.heads, "head")
            rows = _indices(queries, call.op.q_len, "query")
            index = torch.tensor(chosen, device=call.q.device)
            order = torch.argsort(index)
            parts = []
            for start, stop in _spans(rows):
                (part,) = patchwork.select(index[order], (start, stop)).answer([Rows(_Rows(call.op.k_len))])
                assert isinstance(part, Tensor)
                parts.append(part)
            found.append(torch.cat(parts, 2)[:, torch.argsort(order)])

        with self._probing(probe):
            self._run(x)
        if not found:
            raise IndexError(f"there is no layer {layer}" + (f"; there are {sorted(layers)}" if layers else ""))
        return torch.cat(found)

    @contextmanager
    def edit(self, *edits: Edit) -> Iterator[None]:
        """Edit the model's attention while the context lasts; contexts nest, outer edits first.

        Raises ValueError at the end if the model ran and an edit met no head and no row of it.
        """
        before, applied, heard = self._edits, self._applied, self._heard
        self._edits, self._applied = [*before, *edits], set()
        try:
            with self._tap.listening():
                yield
            idle = [
                edit for place, edit in enumerate(self._edits) if place >= len(before) and place not in self._applied
            ]
            if idle and self._heard > heard:
                raise ValueError(
                    f"{idle[0]} changed nothing: no call of attention had the heads and tokens that it names"
                )
        finally:
            self._edits = before
            self._applied = applied | {place for place in self._applied if place < len(before)}

    def _handle(self, call: Call) -> Tensor | None:
        self._heard += 1
        patchwork, applied = edited(call, self._edits)
        self._applied |= applied
        if self._probe is not None:
            self._probe(call, patchwork)
        return patchwork.output(call.host) if patchwork.changed else None

    def _begin(self, session: Session) -> None:
        if session.segments is None:
            session.segments = TokenSegments(session, self._rules)

    @contextmanager
    def _probing(self, probe: Probe) -> Iterator[None]:
        before, self._probe = self._probe, probe
        try:
            with self._tap.listening():
                yield
        finally:
            self._probe = before

    def _run(self, x: Mapping[str, Any]) -> None:
        """Run the model without its language-model head, gradients or cache."""
        body = _body(self.model)
        known = inspect.signature(body.forward).parameters
        extra = {"use_cache": False} if "use_cache" in known else {}
        with torch.no_grad():
            body(**{**x, **extra})

    def _device(self) -> torch.device:
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))

    def _limit(self) -> int | None:
        config: Any = getattr(self.model, "config", None)
        text = config.get_text_config() if hasattr(config, "get_text_config") else config
        limit = getattr(text, "max_position_embeddings", None)
        return limit if isinstance(limit, int) and limit > 0 else None

    def _nothing(self, part: str | None, role: Role) -> str:
        kind = type(self.model).__name__
        if self._heard == 0:
            return f"{kind} made no call of attention that can be seen: it may have none, or attend in a way of its own"
        return f"{kind} has no attention of part {part or 'main'!r} and role {role or 'any'!r}"


class _Rows:
    """Rows as they are, on all keys."""

    def __init__(self, keys: int) -> None:
        self.keys = keys

    def __call__(self, weights: Tensor, block: Block) -> Tensor:
        start, stop = block.cols
        return nn.functional.pad(weights, (start, self.keys - stop))


def _body(model: nn.Module) -> nn.Module:
    """Return the model without its head, where transformers keeps them apart."""
    body = getattr(model, "base_model", None)
    return body if isinstance(body, nn.Module) else model


def _indices(chosen: Sequence[int] | None, n: int, what: str) -> list[int]:
    """Return indices counted from 0, all of them for None."""
    if chosen is None:
        return list(range(n))
    wrong = [index for index in chosen if not -n <= index < n]
    if wrong or not len(chosen):
        raise IndexError(f"there is no {what} {wrong[0]}; there are {n}" if wrong else f"no {what} was chosen")
    return [index % n for index in chosen]


def _spans(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Return rows as ranges, in order: runs of neighbours together."""
    spans: list[tuple[int, int]] = []
    for row in rows:
        if spans and spans[-1][1] == row:
            spans[-1] = (spans[-1][0], row + 1)
        else:
            spans.append((row, row + 1))
    return spans
