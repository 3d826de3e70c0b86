"""Softmax that reaches 0 and 1 at finite scores."""

from dataclasses import dataclass

from torch import Tensor

from ..core.protocols import Edit
from .attention import AttentionDesign, Given, Learnt, rewritten


@dataclass(frozen=True)
class ClippedSoftmax(AttentionDesign):
    """Weights `clip((zeta - gamma) A_ij + gamma, 0, 1)` of softmax weights A, for keys that a query sees.

    With a gamma below 0 a head can give exact zeros, so that it can do nothing without a sink. Clipped weights pass no gradient.
    Source: arXiv 2306.12929, section 4.1. Raises ValueError unless `gamma <= 0` and `zeta >= 1`.
    """

    gamma: float = -0.03
    zeta: float = 1.0

    def __post_init__(self) -> None:
        if self.gamma > 0 or self.zeta < 1:
            raise ValueError(f"a clipped softmax has gamma <= 0 and zeta >= 1, not {self.gamma} and {self.zeta}")

    def attend(self, given: Given, learnt: Learnt) -> Tensor:
        scores = given.scores()
        seen = ~scores.isneginf()
        softmax = scores.where(seen.any(-1, keepdim=True), 0.0).softmax(-1)
        return given.sum(self._clip(softmax).masked_fill(~seen, 0.0))

    def edits(self, learnt: Learnt) -> tuple[Edit, ...]:
        return (rewritten(lambda weights, lse: self._clip(weights)),)

    def _clip(self, weights: Tensor) -> Tensor:
        return ((self.zeta - self.gamma) * weights + self.gamma).clamp(0.0, 1.0)
