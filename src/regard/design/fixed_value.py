"""A learnt key whose value is given, and not learnt."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .attention import Heads, Learnt
from .key_bias import STD, ExtraKey


@dataclass(frozen=True)
class FixedValueBias(ExtraKey):
    """Softmax over the keys and a learnt key k*, [kv_head, 1, dim], whose value has a given norm and direction.

    `along` "first" is the first axis of a head, "all" all of them alike. With a norm of 0 it is `KeyBias`. Source: arXiv
    2410.10781, section 7.1 (K biases with v* = m v'), where large norms drive the sink back to the first token.
    """

    norm: float
    along: Literal["first", "all"] = "first"

    def learnt(self, heads: Heads) -> dict[str, Tensor]:
        return {"k": STD * torch.randn(heads.kv, 1, heads.dim)}

    def extra(self, learnt: Learnt, like: Tensor) -> tuple[Tensor, Tensor]:
        k = learnt["k"]
        v = torch.ones_like(k) / k.shape[-1] ** 0.5
        if self.along == "first":
            v = torch.zeros_like(k)
            v[..., 0] = 1.0
        return k, self.norm * v
