"""Changes of how much single keys and segments of keys are attended to, before or after the softmax."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from math import inf, log
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.call import Call
from ..core.effects import Bias, Block, Effect, KeyScale, Mix, Renormalise, Stage
from ..core.protocols import Terms
from ..core.terms import Part
from .base import BaseEdit


@dataclass(frozen=True, eq=False, repr=False)
class BiasKeys(BaseEdit):
    """Add to the scores of all keys of a segment before the softmax; 0 changes nothing.

    A bias of `log w` multiplies their weights by w and renormalises (`BiasKeys.by_factor`).
    """

    segment: str
    bias: float
    stage: ClassVar[Stage] = "scores"

    @classmethod
    def by_factor(cls, segment: str, factor: float, **where: Any) -> "BiasKeys":
        """Multiply the weights of a segment by a factor of 0 or more, before rows are normalised."""
        if factor < 0:
            raise ValueError(f"a factor of weights is 0 or more, not {factor}")
        return cls(segment, log(factor) if factor else -inf, **where)

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        chosen = call.keys(self.segment)
        yield {}
        if not bool(chosen.any()):
            return None
        if self.bias == -inf:
            return Block(chosen[:, None])
        return Bias((chosen.to(call.op.work_dtype) * self.bias)[:, None, None])


@dataclass(frozen=True, eq=False, repr=False)
class BlockKeys(BaseEdit):
    """Hide all keys of a segment from the queries that `queries`, `since` and `phase` choose; a query left with none gets 0."""

    segment: str
    stage: ClassVar[Stage] = "scores"

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        chosen = call.keys(self.segment)
        yield {}
        return Block(chosen[:, None]) if bool(chosen.any()) else None


@dataclass(frozen=True, eq=False, repr=False)
class ScaleSegments(BaseEdit):
    """Multiply the weights of whole segments after the softmax; factors of 1 change nothing.

    A key that is in several segments belongs to the first. `renormalise` scales rows back to the mass that they had ("mass") or
    to 1 ("one"), which differ where a sink logit takes some; False leaves them.
    """

    factors: Mapping[str, float]
    renormalise: Renormalise = False
    stage: ClassVar[Stage] = "weights"

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        labels = torch.full_like(call.kpos, -1)
        for place, segment in reversed(list(enumerate(self.factors))):
            labels = torch.where(call.keys(segment), place, labels)
        yield {}
        if bool((labels < 0).all()):
            return None
        factors = torch.tensor(list(self.factors.values()), dtype=call.op.work_dtype, device=call.q.device)
        return Mix(Part(labels, len(self.factors)), factors[None, None, None], self.renormalise)


@dataclass(frozen=True, eq=False, repr=False)
class ScaleKeys(BaseEdit):
    """Multiply the weight of each key after the softmax by a factor of its own; factors of 1 change nothing.

    Shape of factors: [key] or [batch, key], keys being the run's from its first token on, padding included; later keys keep
    theirs. `renormalise` as in `ScaleSegments`.
    """

    factors: Tensor
    renormalise: Renormalise = False
    stage: ClassVar[Stage] = "weights"

    def __post_init__(self) -> None:
        if self.factors.ndim not in (1, 2):
            raise ValueError(f"expected factors [key] or [batch, key], found {list(self.factors.shape)}")

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        yield {}
        given = call.of_examples(self.factors if self.factors.ndim == 2 else self.factors[None])
        given = given[:, call.k_index : call.k_index + call.op.k_len].to(call.q.device, call.op.work_dtype)
        if given.shape[1] == 0:
            return None
        given = torch.nn.functional.pad(given, (0, call.op.k_len - given.shape[1]), value=1.0)
        return KeyScale(given[:, None], self.renormalise)
