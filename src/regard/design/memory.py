"""Attention as an associative memory: keys and values are written pair by pair into a matrix, and queries read it.

A state S [..., value_dim, dim] is written by `S = decay S + u k^T`. Rules differ in the decay and in what is written: the
value, or what of the value the state does not predict. Source: arXiv 2508.08289; its own list of rules could not be read, so
these are the usual ones.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Rule = Literal["hebb", "decay", "delta", "gated-delta", "oja"]


@dataclass(frozen=True)
class Memory:
    """A rule by which pairs are written, with its step `eta` and, for "decay" and "gated-delta", the share `gamma` that is kept.

    `hebb`: S + eta v k^T. `decay`: gamma S + eta v k^T. `delta` (Rescorla-Wagner): S + eta (v - S k) k^T. `gated-delta`: the
    delta rule on gamma S. `oja`: S + eta (v k^T - |k|^2 S). The delta rule is stable for eta |k|^2 below 2. Raises ValueError
    for an unknown rule, and for a gamma that the rule does not have.
    """

    rule: Rule = "hebb"
    eta: float = 1.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if self.rule not in get_args(Rule):
            raise ValueError(f"no rule is named {self.rule!r}; there are {', '.join(get_args(Rule))}")
        if self.gamma != 1.0 and self.rule not in ("decay", "gated-delta"):
            raise ValueError(f"{self.rule} keeps all of its state; gamma is for decay and gated-delta")

    def write(self, state: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the state after one pair, k [..., dim] and v [..., value_dim]."""
        kept = state * self._kept(k)[..., None, None]
        known = (kept @ k[..., None])[..., 0] if self.corrects else 0.0
        return kept + self.eta * (v - known)[..., None] * k[..., None, :]

    def scan(
        self, q: Tensor, k: Tensor, v: Tensor, state: Tensor | None = None, chunk: int = 64
    ) -> tuple[Tensor, Tensor]:
        """Write pair after pair and read with the query of each after it: outputs [..., token, value_dim] and the last state.

        Shapes: q and k [..., token, dim], v [..., token, value_dim]. `state` is what is there before. Within a chunk nothing is
        done token by token. Raises ValueError for shapes that do not fit.
        """
        if q.shape != k.shape or k.shape[:-1] != v.shape[:-1]:
            raise ValueError(
                f"queries {list(q.shape)}, keys {list(k.shape)} and values {list(v.shape)} are of one length and batch"
            )
        if state is None:
            state = v.new_zeros(*v.shape[:-2], v.shape[-1], k.shape[-1])
        outs = []
        for qs, ks, vs in zip(*(one.split(chunk, -2) for one in (q, k, v)), strict=True):
            between, since = self._decays(ks)
            written = self.eta * vs
            if self.corrects:
                overlap = self.eta * between * (ks @ ks.mT)
                foreseen = self.eta * since[..., None] * (ks @ state.mT)
                eye = torch.eye(ks.shape[-2], dtype=ks.dtype, device=ks.device)
                written = torch.linalg.solve_triangular(
                    overlap.tril(-1) + eye, written - foreseen, upper=False, unitriangular=True
                )
            outs.append((between * (qs @ ks.mT)) @ written + since[..., None] * (qs @ state.mT))
            state = since[..., -1, None, None] * state + (between[..., -1, :, None] * written).mT @ ks
        return torch.cat(outs, -2), state

    @property
    def corrects(self) -> bool:
        """Whether what is written is an error of prediction."""
        return self.rule in ("delta", "gated-delta")

    def _kept(self, k: Tensor) -> Tensor:
        """The share of the state that is kept at each token, [...]."""
        if self.rule == "oja":
            return 1 - self.eta * k.square().sum(-1)
        return torch.full_like(k[..., 0], self.gamma)

    def _decays(self, k: Tensor) -> tuple[Tensor, Tensor]:
        """What is left at each token of what was written at another, [..., token, written], and of the state before."""
        kept = self._kept(k)
        n = kept.shape[-1]
        after = torch.ones(n, n, dtype=torch.bool, device=k.device).tril(-1)
        between = torch.where(after, kept[..., None], 1.0).cumprod(-2).tril()
        return between, kept.cumprod(-1)


def softmax_read(q: Tensor, k: Tensor, v: Tensor, beta: float) -> Tensor:
    """Return `softmax(beta q k^T) v`: pairs are kept apart, and compete when they are read.

    Shapes: q [..., query, dim], k [..., token, dim], v [..., token, value_dim].
    """
    return (beta * (q @ k.mT)).softmax(-1) @ v
