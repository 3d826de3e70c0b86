"""What the keys of a model's heads would hold, were they a linear memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..design.memory import Memory
from ..design.memory_capacity import cosine, expected_cosine, guaranteed, half_power, recalled

if TYPE_CHECKING:
    from .lens import Lens

DRAWS = 20


@dataclass(frozen=True)
class KeyMemory:
    """The capacity of one head's keys, from all texts of a batch.

    `mean_cosine` between keys of a text; `effective_rank`, the exponential of the entropy of the keys' singular values;
    `guaranteed` and `half_power` pairs as in `regard.design.memory_capacity`; `predicted` cosine between what a Hebbian read of
    the text gives and the head's own value, from `half_power` alone, and the `measured` one. Prediction is for unit values of
    random direction.
    """

    layer: int
    head: int
    centred: bool
    mean_cosine: float
    effective_rank: float
    guaranteed: int
    half_power: float
    predicted: float
    measured: float


@torch.no_grad()
def key_memory(lens: "Lens", x: Mapping[str, Any], layer: int) -> list[KeyMemory]:
    """Return the capacity of each head of keys of a layer, twice: of its keys as they are, and less their mean over the text.

    Keys are those that queries meet, after the rotary embedding, scaled to unit length; padding is left out. Raises ValueError
    for texts of fewer than three tokens. Source: arXiv 2508.08289.
    """
    kept = lens.cache(x, [f"k.{layer}", f"v.{layer}"])
    k, v = (kept[f"{kind}.{layer}"].float() for kind in "kv")
    mask = x.get("attention_mask")
    real = torch.ones(k.shape[0], k.shape[2], dtype=torch.bool) if mask is None else mask.bool().cpu()
    if int(real.sum(-1).min()) < 3:
        raise ValueError("the capacity of keys is of texts of three tokens or more")
    found = []
    for head in range(k.shape[1]):
        texts = [(k[text, head, real[text]], v[text, head, real[text]]) for text in range(len(k))]
        for centred in (False, True):
            found.append(_of_head(layer, head, centred, texts))
    return found


def _of_head(layer: int, head: int, centred: bool, texts: list[tuple[Tensor, Tensor]]) -> KeyMemory:
    rows = []
    for keys, values in texts:
        if centred:
            keys = keys - keys.mean(0)
        unit = nn.functional.normalize(keys, dim=-1)
        n = len(unit)
        gram = unit @ unit.mT
        share = torch.linalg.svdvals(unit)
        share = share / share.sum()
        order = torch.stack([torch.randperm(n, generator=torch.Generator().manual_seed(draw)) for draw in range(DRAWS)])
        half = half_power(unit)
        values = nn.functional.normalize(values, dim=-1)
        rows.append(
            (
                (float(gram.sum()) - float(gram.trace())) / (n * (n - 1)),
                float(torch.special.entr(share).sum().exp()),
                guaranteed(unit[order.to(unit.device)]),
                half,
                expected_cosine(n, half - 1),
                float(cosine(recalled(Memory(), unit, values), values).mean()),
            )
        )
    mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    return KeyMemory(layer, head, centred, mean[0], mean[1], round(mean[2]), *mean[3:])
