"""Residual streams of an example: their norms, the values far above the others, and the sinks that they mark."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from ..lens.inputs import Inputs
from ..lens.massive import MOST
from ..lens.sink_atlas import Streams
from ..lens.sink_levels import SinkRule, Window
from .data import Array, Massive, Sink
from .parts import Found


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
                    stack.enter_context(self.streams.read(model, forming=False))
            yield

    def of(self, tokens: int) -> tuple[Array | None, list[Massive], list[Sink]]:
        """Return norms [layer, token], massive activations and sinks; None where a layer has no stream of so many tokens."""
        layers = [self.streams.norms.get(f"resid_post.{site.layer}") for site in self.part.sites]
        there = [
            norms[:tokens].numpy().astype(np.float64) for norms in layers if norms is not None and len(norms) >= tokens
        ]
        if not there or len(there) < len(layers):
            return None, [], []
        massive = [
            Massive(layer, one.token, self.example, one.dim, one.value, one.ratio) for layer, one in self.streams.found
        ]
        sinks = [sink for sink in self._sinks() if sink.token < tokens]
        return np.stack(there), [one for one in massive if one.token < tokens], sinks

    def _sinks(self) -> list[Sink]:
        """The primary sink and the others, those left out that last for a few layers only."""
        primary, window, others = self.streams.sinks(SinkRule())
        if window is None:
            return []
        first = Sink(self.example, primary, "primary", window.start, _life(window), 1.0)
        kept = [one for one in others if one.kind != "brief"]
        return [first, *(Sink(self.example, o.token, o.kind, o.start, o.lifetime, o.norm) for o in kept)]

    def _own(self, stream: Tensor) -> Tensor:
        """The tokens of the example without padding, or of its first image alone, [token, width]."""
        flat = stream[0] if stream.ndim == 3 else stream
        if self.part.name == "vision":
            return flat[: int(self.x["image_grid_thw"][0].prod())] if "image_grid_thw" in self.x else flat
        real = self.x.valid[0]
        return flat[real.to(flat.device)] if len(real) == len(flat) else flat


def _life(window: Window) -> int:
    return window.end - window.start


def strongest(massive: Sequence[Massive]) -> list[Massive]:
    """The strongest massive activations, each dimension of a token once, where it is strongest."""
    best: dict[tuple[int, int, int], Massive] = {}
    for one in massive:
        key = (one.text, one.token, one.dim)
        if key not in best or one.ratio > best[key].ratio:
            best[key] = one
    return sorted(best.values(), key=lambda one: -one.ratio)[:MOST]
