"""A learnt key and value that all heads of a layer share."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .attention import Heads, Learnt
from .key_bias import STD, ExtraKey


@dataclass(frozen=True)
class SharedKeyValueBias(ExtraKey):
    """Softmax over the keys and a learnt key k* with a learnt value v*, each [1, 1, dim]: one for all heads of a layer.

    Source: arXiv 2410.10781, section 7.1, where it takes less of the sink than `KeyValueBias`.
    """

    def learnt(self, heads: Heads) -> dict[str, Tensor]:
        return {name: STD * torch.randn(1, 1, heads.dim) for name in ("k", "v")}

    def extra(self, learnt: Learnt, like: Tensor) -> tuple[Tensor, Tensor]:
        k, v = (learnt[name].expand(like.shape[1], -1, -1) for name in ("k", "v"))
        return k, v
