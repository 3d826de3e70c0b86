"""Which tokens become sinks of the residual stream, behind which layer and for how long (arXiv 2512.22213)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from torch import Tensor

Kind = Literal["primary", "secondary", "brief"]
JUMP = 3.0
"""A primary sink's norm rises in one layer by as many norms of an ordinary token, or there is none."""


@dataclass(frozen=True)
class Window:
    """The life of the primary sink: massive behind the layers `start` to `end - 1`."""

    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class SinkRule:
    """When a token is a sink, and of which kind; relative to the depth of the model, so that models can be compared.

    A token is a sink behind a layer if its residual stream has a cosine above `cosine` with the primary sink's there, or one
    below `-cosine` with `absolute`. It is primary if it begins with the window, or a layer later, and lives at least
    `primary_share` of it; secondary if it begins later than that and lives at least `least_share` of all layers and at least
    `fewest`; otherwise brief. `Wong2025` is the rule of the paper's code.
    """

    cosine: float = 0.9
    absolute: bool = False
    primary_share: float = 0.6
    least_share: float = 0.1
    fewest: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.cosine < 1:
            raise ValueError(f"a sink's cosine is above a number between 0 and 1, not {self.cosine}")

    def kind(self, layers: Sequence[int], window: Window, depth: int) -> Kind:
        """Return the kind of a token that is a sink behind some layers, of a model of `depth` layers."""
        early = layers[0] <= window.start + 1
        if early and len(layers) >= self.primary_share * (window.end - window.start):
            return "primary"
        if not early and len(layers) >= max(self.fewest, ceil(self.least_share * depth)):
            return "secondary"
        return "brief"


@dataclass(frozen=True, kw_only=True)
class Wong2025(SinkRule):
    """The rule of the paper's code, for 40 to 64 layers: fewer than 5 are brief, at least `depth - 15` primary, either sign."""

    absolute: bool = True

    def kind(self, layers: Sequence[int], window: Window, depth: int) -> Kind:
        """Return the kind by the number of layers alone."""
        if len(layers) >= depth - 15:
            return "primary"
        return "secondary" if len(layers) > 4 else "brief"


@dataclass(frozen=True)
class SinkToken:
    """A token behind the primary sink that becomes a sink: the layers where it is one, and how it begins.

    `norm` is the norm of its residual stream over the primary sink's, behind the first of these layers.
    """

    token: int
    kind: Kind
    layers: tuple[int, ...]
    norm: float

    @property
    def start(self) -> int:
        """The first layer behind which it is a sink."""
        return self.layers[0]

    @property
    def lifetime(self) -> int:
        """Behind how many layers it is one, gaps left out."""
        return len(self.layers)


@dataclass(frozen=True)
class Level:
    """Secondary sinks that begin behind the same layer and live about as long: `fraction` is that layer over the depth."""

    start: int
    fraction: float
    lifetimes: tuple[int, int]
    tokens: int


def find_primary(norms: Tensor, candidates: int) -> int:
    """Return which of the first `candidates` tokens has the largest norm, mean over layers; norms [layer, token]."""
    return int(norms[:, :candidates].mean(0).argmax())


def find_window(norms: Tensor, typical: Tensor) -> Window | None:
    """Return the window of the primary sink, or None if it never becomes massive where attention still reads it.

    Both are [layer + 1]: before the first block and behind each, the norm of the primary sink and the median over other tokens.
    The window starts with the layer where the norm rises most, and ends with the one where it falls most after that; if that is
    by less than half of the rise, the sink stays to the end. Unlike the paper's code it can start with the first layer, and not
    with the last.
    """
    steps = norms.diff()
    if len(steps) < 2:
        return None
    start = int(steps[:-1].argmax())
    rise = float(steps[start])
    if rise < JUMP * float(typical[start + 1]):
        return None
    later = steps[start + 1 :]
    end = len(steps)
    if len(later) and -float(later.min()) >= rise / 2:
        end = start + 1 + int(later.argmin())
    return Window(start, end)


def find_sinks(
    cosines: Tensor, norms: Tensor, primary: int, window: Window, rule: SinkRule | None = None
) -> list[SinkToken]:
    """Return the tokens behind the primary sink that become sinks within its window, in their order.

    `cosines` with the primary sink and `norms`, both [layer, token], are of the residual stream behind each layer.
    """
    rule = rule or SinkRule()
    near = (cosines.abs() if rule.absolute else cosines) > rule.cosine
    found = []
    for token in range(primary + 1, cosines.shape[1]):
        layers = tuple(layer for layer in range(window.start, window.end) if bool(near[layer, token]))
        if layers:
            norm = float(norms[layers[0], token] / norms[layers[0], primary])
            found.append(SinkToken(token, rule.kind(layers, window, len(cosines)), layers, norm))
    return found


def find_levels(sinks: Iterable[SinkToken], depth: int, fewest: int = 10, share: float = 0.05) -> list[Level]:
    """Return the levels of secondary sinks, of a model of `depth` layers, by the layer where they begin.

    Lifetimes that are at most 2 apart are of one level; levels of fewer than `fewest` tokens, or of less than this share of all,
    are left out. The paper does not say how it counts levels.
    """
    lives: dict[int, list[int]] = {}
    for sink in sinks:
        if sink.kind == "secondary":
            lives.setdefault(sink.start, []).append(sink.lifetime)
    total = sum(len(lifetimes) for lifetimes in lives.values())
    found = []
    for start in sorted(lives):
        groups: list[list[int]] = []
        for lifetime in sorted(lives[start]):
            if groups and lifetime - groups[-1][-1] <= 2:
                groups[-1].append(lifetime)
            else:
                groups.append([lifetime])
        found += [Level(start, start / depth, (group[0], group[-1]), len(group)) for group in groups]
    return [level for level in found if level.tokens >= max(fewest, share * total)]
