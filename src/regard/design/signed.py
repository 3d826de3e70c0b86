"""Attention whose weights may be negative: the product of queries and keys itself, or of what a small network makes of them.

In the core's vocabulary weights are softmax first. To have the scores back from them, the softmax is over `asinh(S)`: with
`e = exp(asinh(S))`, which is the weight times the row's sum, `S = (e - 1 / e) / 2`, and no weight underflows.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..core.effects import Replace, SetScores
from ..core.protocols import Edit
from .attention import AttentionDesign, Given, Heads, Learnt, always, rewritten


@dataclass(frozen=True)
class SignedAttention(AttentionDesign):
    """Weights `scale * phi(q_i) phi(k_j)`, divided with `normalise` by `max(|their sum|, 1)`, of any sign.

    phi is the identity, or `W2 relu(W1 x)` with matrices [dim, dim] that queries, keys and all heads of a layer share; queries
    and keys are rotated before it. A lens measures the weights with their sign; `shares` makes the proxy of the paper of them.
    Source: arXiv 2410.10781, section 7.2 (kernels identity and mlp).
    """

    kernel: Literal["identity", "mlp"] = "identity"
    normalise: bool = False

    def learnt(self, heads: Heads) -> dict[str, Tensor]:
        if self.kernel == "identity":
            return {}
        std = (2 / (5 * heads.dim)) ** 0.5  # as the paper's other matrices
        return {name: std * torch.randn(heads.dim, heads.dim) for name in ("w1", "w2")}

    def attend(self, given: Given, learnt: Learnt) -> Tensor:
        given = given._replace(q=self._phi(given.q, learnt), k=self._phi(given.k, learnt))
        scores = given.scores()
        return given.sum(self._divided(scores.masked_fill(scores.isneginf(), 0.0)))

    def edits(self, learnt: Learnt) -> tuple[Edit, ...]:
        kernel = always("inputs", lambda call: Replace(q=self._phi(call.q, learnt), k=self._phi(call.k, learnt)))
        law = always("scores", lambda call: SetScores(lambda scores, block: scores.asinh()))
        return (*((kernel,) if self.kernel == "mlp" else ()), law, rewritten(self._signed))

    def _phi(self, x: Tensor, learnt: Learnt) -> Tensor:
        if self.kernel == "identity":
            return x
        w1, w2 = (learnt[name].to(x) for name in ("w1", "w2"))
        return nn.functional.relu(x @ w1.mT) @ w2.mT

    def _signed(self, weights: Tensor, lse: Tensor) -> Tensor:
        e = weights * lse.exp()
        return self._divided(((e - 1 / e) / 2).masked_fill(e == 0, 0.0))

    def _divided(self, weights: Tensor) -> Tensor:
        return weights / weights.sum(-1, keepdim=True).abs().clamp_min(1.0) if self.normalise else weights


def shares(weights: Tensor) -> Tensor:
    """Return `|s_ij| / sum_j |s_ij|` of weights of any sign, [..., query, key]: what the paper measures in their place."""
    size = weights.abs()
    return size / size.sum(-1, keepdim=True).clamp_min(torch.finfo(size.dtype).tiny)


def distributed(weights: Tensor) -> bool:
    """Whether rows [..., query, key] are what a distribution gives to tokens: no weight below 0, and no sum above 1."""
    return bool(weights.amin() >= 0) and bool(weights.sum(-1).amax() < 1.001)
