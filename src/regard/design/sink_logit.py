"""A learnt number in the denominator of softmax, for each head: the place for spare attention that gpt-oss has."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.call import Call
from ..core.effects import Effect, Mix
from ..core.protocols import Edit, Terms
from ..core.terms import Lse, Part
from .attention import AttentionDesign, Given, Heads, Learnt, Planned

_STD = 0.02
"""Standard deviation of the logits before training, as of the weights of such models."""


@dataclass(frozen=True)
class SinkLogit(AttentionDesign):
    """Softmax with a learnt sink logit b for each head, [head], in its denominator: `exp(S_ij) / (exp(b) + sum_j exp(S_ij))`.

    Unlike the score of a key bias, b is the same for all queries; b = 0 is `SoftmaxOffByOne`. Source: arXiv 2508.10925,
    section 2.3 (gpt-oss), whose logits are not scaled.
    """

    def learnt(self, heads: Heads) -> dict[str, Tensor]:
        return {"b": _STD * torch.randn(heads.query)}

    def attend(self, given: Given, learnt: Learnt) -> Tensor:
        scores = given.scores()
        b = learnt["b"].to(scores)[:, None, None].expand(*scores.shape[:-1], 1)
        return given.sum(torch.cat([scores, b], -1).softmax(-1)[..., :-1])

    def edits(self, learnt: Learnt) -> tuple[Edit, ...]:
        def planned(call: Call) -> Generator[Terms, dict[str, Any], Effect | None]:
            got = yield {"lse": Lse()}
            kept = (got["lse"] - learnt["b"].to(got["lse"])[:, None]).sigmoid()
            everything = torch.zeros_like(call.kpos)
            return Mix(Part(everything, 1), kept[..., None])

        return (Planned("weights", planned),)
