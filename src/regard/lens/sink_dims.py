"""The few dimensions of the residual stream by which a model marks its sinks."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import torch

from ..edit.visual_sinks import RELATIVE_TAU

if TYPE_CHECKING:
    from .lens import Lens

MOST = 4


@dataclass(frozen=True)
class SinkDims:
    """Sink dimensions, strongest first, with the share of texts that each was found in, and the layers it was looked for in."""

    dims: tuple[int, ...]
    shares: tuple[float, ...]
    layers: tuple[int, ...]

    @property
    def stability(self) -> float:
        """The least of the shares: 1 if every text has every dimension; 0 if none was found."""
        return min(self.shares, default=0.0)


@torch.no_grad()
def find_sink_dims(
    lens: "Lens", texts: Iterable[Any], *, layers: Iterable[int] | None = None, tau: float | None = None
) -> SinkDims:
    """Return the dimensions that are huge in the first token of texts: `|x_d| / RMS(x)` at least `tau` in half of the layers.

    `texts` are what `lens.encode` takes, one each; a dimension counts if half of them have it, and 4 are kept at most. By default
    the layers are the third to the last but one, and tau is 0.3125 sqrt(width), which is 20 at a width of 4096. A rule for what
    arXiv 2503.03321 reads off the first token (BOS) by eye. Raises ValueError for no texts and for no layers.
    """
    if layers is None:
        layers = range(2, lens.model.config.get_text_config().num_hidden_layers - 1)  # type: ignore[union-attr,operator]
    chosen = tuple(layers)
    names = [f"resid_pre.{layer}" for layer in chosen]
    found, strengths = [], []
    for text in texts:
        x = lens.encode(text)
        first = int(x["attention_mask"][0].argmax()) if "attention_mask" in x else 0
        kept = lens.cache(x, names)
        resid = torch.stack([kept[name][0, first].float().cpu() for name in names])  # layers may be on several devices
        strength = resid.abs() / (resid.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        least = RELATIVE_TAU * sqrt(strength.shape[-1]) if tau is None else tau
        found.append((strength >= least).float().mean(0) >= 0.5)
        strengths.append(strength.mean(0))
    if not (found and chosen):
        raise ValueError(
            f"sink dimensions are looked for in texts and layers, and there are {len(found)} and {len(chosen)}"
        )
    share = torch.stack(found).float().mean(0)
    order = torch.stack(strengths).mean(0).argsort(descending=True).tolist()
    dims = tuple(dim for dim in order if share[dim] >= 0.5)[:MOST]
    return SinkDims(dims, tuple(share[dim].item() for dim in dims), chosen)
