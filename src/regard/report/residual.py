"""Residual streams of an example: their norms, the values far above the others, and the sinks that they mark."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from ..lens.inputs import Inputs
from ..lens.massive import MOST
from ..lens.sink_atlas import SINK, Streams, attention_tables, told_at
from ..lens.sink_levels import SinkRule, SinkToken
from .data import Array, Massive, Sink, SinkKind
from .parts import Found, real

EVIDENCE = ("mlp_along", "weight", "key_norm", "value_norm", "query_key_cosine")


@dataclass
class Residual:
    """The residual stream behind each layer of a part, reduced as it comes by: all of them would take much memory.

    `example` is the number of the one example that `x` holds.
    """

    x: Inputs
    part: Found
    example: int
    streams: Streams = field(init=False)

    def __post_init__(self) -> None:
        self.streams = Streams([site for site in self.part.sites if site.role != "cross"], self._own)

    @contextmanager
    def read(self, model: nn.Module) -> Iterator[None]:
        """Read while the model runs once; nothing where attention is cross or stands in no list of blocks."""
        with ExitStack() as stack:
            if self.streams.sites:
                with suppress(ValueError):
                    stack.enter_context(self.streams.read(model, forming=("mlp_out",)))
            yield

    def of(self, evidence: Tensor) -> tuple[Array | None, list[Massive], list[Sink]]:
        """Return norms [layer, token], massive activations and sinks; None where a layer has no stream of so many tokens.

        `evidence` [layer, head, token, entry] is that of `SinkEvidence`, of the tokens of the example, NaN where there is none.
        """
        tokens = evidence.shape[2]
        layers = [self.streams.norms.get(f"resid_post.{site.layer}") for site in self.part.sites]
        there = [
            norms[:tokens].numpy().astype(np.float64) for norms in layers if norms is not None and len(norms) >= tokens
        ]
        if not there or len(there) < len(layers):
            return None, [], []
        massive = [
            Massive(layer, one.token, self.example, one.dim, one.value, one.ratio) for layer, one in self.streams.found
        ]
        sinks = [sink for sink in self._sinks(evidence) if sink.token < tokens]
        return np.stack(there), [one for one in massive if one.token < tokens], sinks

    def _sinks(self, evidence: Tensor) -> list[Sink]:
        """The primary sink and the others, those left out that last for a few layers only; else what may be one by attention."""
        primary, window, others = self.streams.sinks(SinkRule())
        tables = self.streams.tables(primary) | attention_tables(evidence, primary)
        if window is None:
            return [] if "norm" not in tables or tables["weight"].isnan().all() else self._unmarked(tables)
        found = [SinkToken(primary, "primary", tuple(range(window.start, window.end)), 1.0)]
        found += [one for one in others if one.kind != "brief"]
        layers = [site.layer for site in self.part.sites]
        sinks = []
        for one in found:
            place = layers.index(one.start)
            shown = {name: told_at(tables, name, place, one.token) for name in EVIDENCE}
            sinks.append(
                self._sink(one.token, one.kind, one.start, one.lifetime, one.norm, tables["norm"][place], shown)
            )
        return sinks

    def _unmarked(self, tables: dict[str, Tensor]) -> list[Sink]:
        """That of the first tokens that is given most, where it is given most: neither is massive."""
        given = tables["weight"][:, : self.streams.candidates].nan_to_num()
        place, token = divmod(int(given.argmax()), given.shape[1])
        shown = {name: float(tables[name][place, token]) for name in EVIDENCE if name != "mlp_along"}
        norms = tables["norm"][max(place - 1, 0)]  # what that layer's attention sees
        lifetime = int((given[:, token] > SINK).sum())
        return [self._sink(token, "unmarked", self.part.sites[place].layer, lifetime, 1.0, norms, shown)]

    def _sink(
        self, token: int, kind: SinkKind, start: int, lifetime: int, norm: float, norms: Tensor, shown: dict[str, float]
    ) -> Sink:
        told = {name: None if math.isnan(value := shown.get(name, math.nan)) else value for name in EVIDENCE}
        times = float(norms[token] / norms.median())
        return Sink(self.example, token, kind, start, lifetime, norm, times, **told)

    def _own(self, stream: Tensor) -> Tensor:
        """The tokens of the example without padding, or of its first image alone, [token, width]."""
        flat = stream[0] if stream.ndim == 3 else stream
        if self.part.name == "vision":
            return flat[: int(self.x["image_grid_thw"][0].prod())] if "image_grid_thw" in self.x else flat
        kept = real(self.x, self.part.name, self.part.role)
        return flat if kept is None or len(kept) != len(flat) else flat[kept.to(flat.device)]


def strongest(massive: Sequence[Massive]) -> list[Massive]:
    """The strongest massive activations, each dimension of a token once, where it is strongest."""
    best: dict[tuple[int, int, int], Massive] = {}
    for one in massive:
        key = (one.text, one.token, one.dim)
        if key not in best or one.ratio > best[key].ratio:
            best[key] = one
    return sorted(best.values(), key=lambda one: -one.ratio)[:MOST]
