"""Residual streams of an example: their norms, and the values far above the others."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn

from ..lens.activations import blocks_read
from ..lens.inputs import Inputs
from .data import Array, Massive
from .parts import Found

MASSIVE = 50.0  # times the median magnitude of the layer
MOST_MASSIVE = 20


@dataclass
class Residual:
    """The residual stream behind each layer of a part, reduced as it comes by: all of them would take much memory.

    `example` is the number of the one example that `x` holds.
    """

    x: Inputs
    part: Found
    example: int
    norms: dict[int, Array] = field(default_factory=dict)
    massive: list[Massive] = field(default_factory=list)

    @contextmanager
    def read(self, model: nn.Module) -> Iterator[None]:
        """Read while the model runs once; nothing where attention is cross or stands in no list of blocks."""
        paths = {site.layer: (site.path, site.use) for site in self.part.sites if site.role != "cross"}
        wanted = {layer: ["resid_post"] for layer in paths}
        with ExitStack() as stack:
            with suppress(ValueError):
                stack.enter_context(blocks_read(model, paths, wanted, self._keep))
            yield

    def of(self, tokens: int) -> tuple[Array | None, list[Massive]]:
        """Return norms [layer, token] and massive activations; None where a layer has no stream of so many tokens."""
        layers = [self.norms.get(site.layer) for site in self.part.sites]
        there = [norms[:tokens] for norms in layers if norms is not None and len(norms) >= tokens]
        if not there or len(there) < len(layers):
            return None, []
        return np.stack(there), [one for one in self.massive if one.token < tokens]

    def _keep(self, name: str, stream: Tensor) -> None:
        layer = int(name.partition(".")[2])
        own = self._own(stream).float()
        self.norms[layer] = own.norm(dim=-1).cpu().numpy().astype(np.float64)
        self.massive += _massive(own, layer, self.example)

    def _own(self, stream: Tensor) -> Tensor:
        """The tokens of the example without padding, or of its first image alone, [token, width]."""
        flat = stream[0] if stream.ndim == 3 else stream
        if self.part.name == "vision":
            return flat[: int(self.x["image_grid_thw"][0].prod())] if "image_grid_thw" in self.x else flat
        real = self.x.valid[0]
        return flat[real.to(flat.device)] if len(real) == len(flat) else flat


def _massive(stream: Tensor, layer: int, example: int) -> list[Massive]:
    size = stream.abs()
    median = float(size.median())
    if not median:
        return []
    top = size.flatten().topk(min(MOST_MASSIVE, size.numel()))
    found = []
    for place, value in zip(top.indices.tolist(), top.values.tolist(), strict=True):
        token, dim = divmod(place, stream.shape[1])
        if value > MASSIVE * median:
            found.append(Massive(layer, token, example, dim, float(stream[token, dim]), value / median))
    return found


def strongest(massive: Sequence[Massive]) -> list[Massive]:
    """The strongest massive activations, each dimension of a token once, where it is strongest."""
    best: dict[tuple[int, int, int], Massive] = {}
    for one in massive:
        key = (one.text, one.token, one.dim)
        if key not in best or one.ratio > best[key].ratio:
            best[key] = one
    return sorted(best.values(), key=lambda one: -one.ratio)[:MOST_MASSIVE]
