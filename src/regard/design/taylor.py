"""Softmax attention with its exponential cut off after the second order."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from .attention import apply, remove
from .mixer import Mixer
from .normaliser import Positive


@dataclass(frozen=True)
class TaylorAttention(Mixer, Positive):
    """Weights `f(S_ij) / sum_j f(S_ij)` with `f = 1 + S + S^2 / 2`, which is 1/2 at least, so that the sum is never 0.

    Source: arXiv 2510.11602, section 3 (approximate), as its main text and Based (arXiv 2402.18668) have it; its appendix prints
    the three orders with a denominator each, which is another function, and whose first order can divide by 0.
    """

    place: str | Sequence[int] = "uniform"
    normalise = True

    def put_at(self, model: nn.Module, chosen: tuple[int, ...]) -> None:
        apply(model, self, chosen)

    def take(self, model: nn.Module) -> None:
        remove(model)

    def weights(self, scores: Tensor) -> Tensor:
        return 0.5 + 0.5 * (1 + scores.masked_fill(scores.isneginf(), 0.0)).square()

    def log(self, scores: Tensor) -> Tensor:
        return self.weights(scores).log().masked_fill(scores.isneginf(), float("-inf"))
