"""Attention whose weights come from another function than the exponential, with or without a sum to divide by.

A positive function f of a score is the exponential of its logarithm, so that the normalised attention is softmax over `log f(S)`,
and the other is that times its row sum, which is the exponential of the log-sum-exp. What a lens measures of the attention that
is not normalised are therefore the proxy scores `f(S_ij) / sum_j f(S_ij)` of the paper.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..core.effects import Replace, SetScores
from ..core.protocols import Edit
from .attention import AttentionDesign, Given, Learnt, always, times_sum


class Positive(AttentionDesign):
    """Weights `f(S)` for a positive f."""

    normalise: bool

    def log(self, scores: Tensor) -> Tensor:
        """Return `log f` of scores."""
        raise NotImplementedError

    def weights(self, scores: Tensor) -> Tensor:
        """Return `f` of scores, 0 where they are -inf."""
        return self.log(scores).exp()

    def attend(self, given: Given, learnt: Learnt) -> Tensor:
        scores = given.scores()
        weights = self.weights(scores).masked_fill(scores.isneginf(), 0.0)
        if self.normalise:
            weights = weights / weights.sum(-1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
        return given.sum(weights)

    def edits(self, learnt: Learnt) -> tuple[Edit, ...]:
        law = always("scores", lambda call: SetScores(lambda scores, block: self.log(scores)))
        return (law,) if self.normalise else (law, times_sum())


@dataclass(frozen=True)
class SigmoidAttention(Positive):
    """Weights `sigmoid(S_ij)`, divided by their row sum only with `normalise`; no offset of `-log n` as in later work.

    Source: arXiv 2410.10781, section 7.2. The paper adds 1e-8 to the sum, which is left out here.
    """

    normalise: bool = False

    def log(self, scores: Tensor) -> Tensor:
        return nn.functional.logsigmoid(scores)

    def weights(self, scores: Tensor) -> Tensor:
        return scores.sigmoid()


@dataclass(frozen=True)
class EluAttention(Positive):
    """Weights `elu(S_ij) + 1`, divided by their row sum only with `normalise`. Source: arXiv 2410.10781, section 7.2."""

    normalise: bool = False

    def log(self, scores: Tensor) -> Tensor:
        return scores.clamp(max=0) + scores.clamp(min=0).log1p()


@dataclass(frozen=True)
class EluKernelAttention(Positive):
    """Weights `scale * phi(q_i) phi(k_j)` with `phi = elu + 1`, divided by their row sum only with `normalise`.

    Queries and keys are rotated before phi. Source: arXiv 2410.10781, section 7.2.
    """

    normalise: bool = False

    def log(self, scores: Tensor) -> Tensor:
        return scores.clamp_min(torch.finfo(scores.dtype).tiny).log()

    def attend(self, given: Given, learnt: Learnt) -> Tensor:
        return super().attend(given._replace(q=_phi(given.q), k=_phi(given.k)), learnt)

    def edits(self, learnt: Learnt) -> tuple[Edit, ...]:
        kernel = always("inputs", lambda call: Replace(q=_phi(call.q), k=_phi(call.k)))
        return (kernel, *super().edits(learnt))


def _phi(x: Tensor) -> Tensor:
    return nn.functional.elu(x) + 1
