"""The statistics of a scan, computed from attention maps: what a user of `output_attentions` would write."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from ..measure import Distance, Entropy, Received, SinkMass, SinkRate


@dataclass(frozen=True, eq=False)
class Shown:
    """What of a layer is known before it is timed: how many queries see each key, and whether none sees ahead of itself."""

    seen: Tensor
    causal: bool
    far: Tensor

    @classmethod
    def of(cls, maps: Tensor) -> "Shown":
        """Tell from the maps of a layer, [batch, head, query, key]; a key that no head gives weight is not seen."""
        sees = (maps != 0).flatten(0, 1).any(0)
        places = torch.arange(maps.shape[-1], device=maps.device)
        far = (places[:, None] - places).abs().to(maps.dtype)
        return cls(sees.sum(0), not bool(sees.triu(1).any()), far)


def statistics(layers: Sequence[Tensor], shown: Sequence[Shown]) -> dict[str, Tensor]:
    """Return what `regard scan` asks, of each layer's maps, [batch, head, query, key]: [layer, batch, head] or with keys."""
    found = [_of_layer(maps, each) for maps, each in zip(layers, shown, strict=True)]
    return {name: torch.stack([one[name] for one in found]) for name in found[0]}


def _of_layer(a: Tensor, shown: Shown) -> dict[str, Tensor]:
    if a.dtype in (torch.bfloat16, torch.float16):  # sums over keys would be off
        a = a.float()
    received = a.sum(-2) / shown.seen
    if shown.causal:  # a product with a vector, where the other way makes another map
        places = torch.arange(a.shape[-1], device=a.device, dtype=a.dtype)
        distance = places - a @ places
    else:
        distance = (a * shown.far.to(a.dtype)).sum(-1)
    rate = (received[..., 0] > SinkRate().eps).to(a.dtype)
    return {
        SinkMass().name: a[..., 0].mean(-1),
        SinkRate().name: rate if shown.seen[0] >= ceil(2 / SinkRate().eps) else torch.full_like(rate, torch.nan),
        Entropy().name: torch.special.entr(a).sum(-1).mean(-1),
        Distance().name: distance.mean(-1),
        Received().name: received,
    }
