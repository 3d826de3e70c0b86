"""Learnt keys beside those of the tokens, which every query sees: a place for attention that has nowhere to go."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core.effects import ExtraKV, Out
from ..core.protocols import Edit
from .attention import AttentionDesign, Given, Heads, Learnt, always

STD = 0.02
"""Standard deviation of what is learnt before training, as in the paper's code."""


def _softmax(given: Given, k: Tensor | None = None, v: Tensor | None = None) -> Tensor:
    """Attend by softmax to the keys of the call and to extra ones, k and v [kv_head, extra, ...], that no mask reaches."""
    keys, values, mask = given.k, given.v, given.mask
    if k is not None and v is not None:
        batch = given.q.shape[0]
        keys = torch.cat([keys, k.to(keys).expand(batch, -1, -1, -1)], 2)
        values = torch.cat([values, v.to(values).expand(batch, -1, -1, -1)], 2)
        mask = nn.functional.pad(mask, (0, k.shape[1]), value=1.0 if mask.dtype == torch.bool else 0.0)
    return nn.functional.scaled_dot_product_attention(
        given.q,
        given.each_head(keys),
        given.each_head(values),
        attn_mask=mask if mask.dtype == torch.bool else mask.to(given.q.dtype),
        dropout_p=given.dropout,
        scale=given.scale,
    )


class ExtraKey(AttentionDesign):
    """Softmax over one more key, which has no position and so is not rotated."""

    def extra(self, learnt: Learnt, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the key and its value, [kv_head, 1, dim]; `like` are keys [batch, kv_head, key, dim]."""
        raise NotImplementedError

    def attend(self, given: Given, learnt: Learnt) -> Tensor:
        return _softmax(given, *self.extra(learnt, given.k))

    def edits(self, learnt: Learnt) -> tuple[Edit, ...]:
        return (always("inputs", lambda call: ExtraKV(*(t[None] for t in self.extra(learnt, call.k)))),)


@dataclass(frozen=True)
class KeyBias(ExtraKey):
    """Softmax over the keys and a learnt key k* whose value is 0: `o_i = sum_j exp(S_ij) v_j / (sum_j exp(S_ij) + exp(q_i k*))`.

    k* is learnt per layer and key-value head, [kv_head, 1, dim], and its score is scaled as the others are. Source: arXiv
    2410.10781, section 7.1 (K biases).
    """

    def learnt(self, heads: Heads) -> dict[str, Tensor]:
        return {"k": STD * torch.randn(heads.kv, 1, heads.dim)}

    def extra(self, learnt: Learnt, like: Tensor) -> tuple[Tensor, Tensor]:
        return learnt["k"], torch.zeros_like(learnt["k"])


@dataclass(frozen=True)
class KeyValueBias(ExtraKey):
    """Softmax over the keys and a learnt key k* with a learnt value v*, each [kv_head, 1, dim], per layer.

    Source: arXiv 2410.10781, section 7.1 (KV biases).
    """

    def learnt(self, heads: Heads) -> dict[str, Tensor]:
        return {name: STD * torch.randn(heads.kv, 1, heads.dim) for name in ("k", "v")}

    def extra(self, learnt: Learnt, like: Tensor) -> tuple[Tensor, Tensor]:
        return learnt["k"], learnt["v"]


@dataclass(frozen=True)
class SoftmaxOffByOne(ExtraKey):
    """Softmax with a 1 more in its denominator, `exp(S_ij) / (1 + sum_j exp(S_ij))`: a sink logit of 0. Nothing is learnt.

    It is the key bias with k* = 0. Source: Miller, "Attention Is Off By One" (2023).
    """

    def extra(self, learnt: Learnt, like: Tensor) -> tuple[Tensor, Tensor]:
        nothing = like.new_zeros(like.shape[1], 1, like.shape[3])
        return nothing, nothing


@dataclass(frozen=True)
class ValueBias(AttentionDesign):
    """Softmax attention plus a learnt vector, [head, 1, dim] per layer: the value of a key bias without its key.

    Source: arXiv 2410.10781, section 7.1 (V biases).
    """

    def learnt(self, heads: Heads) -> dict[str, Tensor]:
        return {"v": STD * torch.randn(heads.query, 1, heads.dim)}

    def attend(self, given: Given, learnt: Learnt) -> Tensor:
        return _softmax(given) + learnt["v"].to(given.v)

    def edits(self, learnt: Learnt) -> tuple[Edit, ...]:
        return (always("outputs", lambda call: Out(add=learnt["v"][None])),)


@dataclass(frozen=True)
class ScaledSoftmax(AttentionDesign):
    """Softmax attention whose rows sum to `total` in place of 1. Source: arXiv 2410.10781, section 7.2."""

    total: float

    def attend(self, given: Given, learnt: Learnt) -> Tensor:
        return self.total * _softmax(given)

    def edits(self, learnt: Learnt) -> tuple[Edit, ...]:
        return (always("outputs", lambda call: Out(self.total)),)
