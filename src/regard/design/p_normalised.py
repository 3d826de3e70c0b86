"""Attention whose rows are divided by another norm than their sum."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..core.effects import SetScores
from ..core.protocols import Edit
from .attention import AttentionDesign, Given, Learnt, always, rewritten


@dataclass(frozen=True)
class PNormalised(AttentionDesign):
    """Weights `f(S_ij) / (sum_j f(S_ij)^p)^(1/p)`, with f the exponential or the sigmoid; p = 1 divides by the sum.

    Source: arXiv 2410.10781, appendix; it reports that training diverges for the exponential with p above 1. Raises ValueError
    for a p that is not above 0.
    """

    p: float
    of: Literal["exp", "sigmoid"] = "exp"

    def __post_init__(self) -> None:
        if not self.p > 0:
            raise ValueError(f"the norm of rows has a p above 0, not {self.p}")

    def attend(self, given: Given, learnt: Learnt) -> Tensor:
        scores = given.scores()
        seen = ~scores.isneginf()
        log = self._log(scores.where(seen.any(-1, keepdim=True), 0.0))
        weights = (log - (self.p * log).logsumexp(-1, keepdim=True) / self.p).exp()
        return given.sum(weights.masked_fill(~seen, 0.0))

    def edits(self, learnt: Learnt) -> tuple[Edit, ...]:
        law = always("scores", lambda call: SetScores(lambda scores, block: self._log(scores)))
        return (law, rewritten(self._norm))

    def _log(self, scores: Tensor) -> Tensor:
        return scores if self.of == "exp" else nn.functional.logsigmoid(scores)

    def _norm(self, weights: Tensor, lse: Tensor) -> Tensor:
        """Divide rows that are divided by their sum already: the sum cancels, and so does the greatest, whose powers stay 1."""
        weights = weights / weights.amax(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
        norm = weights.pow(self.p).sum(-1, keepdim=True).pow(1 / self.p)
        return weights / norm.clamp_min(1.0)  # less only in rows that see nothing
