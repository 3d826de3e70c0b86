"""Changes of what heads put out, before they meet in the output projection."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.call import Call
from ..core.effects import Blend, Effect, Out, Stage
from ..core.protocols import Terms
from .base import BaseEdit, check_pairs, of_queries, places


@dataclass(frozen=True, eq=False, repr=False)
class ScaleHeads(BaseEdit):
    """Multiply the outputs of some heads, given as (layer, head) pairs, by a number; 1 changes nothing."""

    heads: Sequence[tuple[int, int]] = field()
    scale: float
    stage: ClassVar[Stage] = "outputs"

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        yield {}
        return Out(self.scale)


@dataclass(frozen=True, eq=False, repr=False)
class ZeroHeads(ScaleHeads):
    """Set the outputs of some heads, given as (layer, head) pairs, to zero."""

    scale: float = field(default=0.0, init=False)


@dataclass(frozen=True, eq=False, repr=False)
class MeanHeads(BaseEdit):
    """Set the output of each head to a given mean, the same for all examples and tokens.

    Shape of means: [pair, value_dim], in the order of the (layer, head) pairs; raises ValueError for another number of pairs.
    """

    heads: Sequence[tuple[int, int]] = field()
    means: Tensor
    stage: ClassVar[Stage] = "outputs"

    def __post_init__(self) -> None:
        check_pairs(self.means, self.heads, "pair, value_dim")

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        yield {}
        return Out(value=self.means[places(self.heads, call)].to(call.q.device)[None, :, None])


@dataclass(frozen=True, eq=False, repr=False)
class ResampleHeads(BaseEdit):
    """Give each example, in some heads, the outputs that another example of its batch has there before edits of this attention.

    They come from inputs that edits of earlier layers have changed; `PatchHeads` takes those of a clean run. `donors` names an
    example of the batch for each one; an example that names itself keeps its own. Raises ValueError at a call of another batch.
    """

    heads: Sequence[tuple[int, int]] = field()
    donors: Sequence[int]
    stage: ClassVar[Stage] = "outputs"

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        examples = int(call.examples.max()) + 1
        if len(self.donors) != examples or not all(0 <= donor < examples for donor in self.donors):
            raise ValueError(f"donors {list(self.donors)} do not name an example for each of {examples}")
        yield {}
        # An example's beams or samples stand together, and each takes from the one at the same place.
        several = call.op.batch // examples
        rows = torch.arange(call.op.batch)
        return Out(value=call.host()[torch.tensor(self.donors)[rows // several] * several + rows % several])


@dataclass(frozen=True, eq=False, repr=False)
class UniformHeads(BaseEdit):
    """Let some heads attend evenly to all that they see."""

    heads: Sequence[tuple[int, int]] = field()
    stage: ClassVar[Stage] = "weights"

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        yield {}
        return Blend(1.0, "uniform")


@dataclass(frozen=True, eq=False, repr=False)
class PatchHeads(BaseEdit):
    """Replace the outputs of some heads by given ones, as from `lens.cache` on another input.

    Shape of values: [batch or 1, pair, token or 1, value_dim], pairs in the order of `heads`; tokens are those of the run from
    its first on, padding included, and rows behind the last one keep theirs. Raises ValueError for another number of pairs,
    and at a call of another batch.
    """

    heads: Sequence[tuple[int, int]] = field()
    values: Tensor
    stage: ClassVar[Stage] = "outputs"

    def __post_init__(self) -> None:
        check_pairs(self.values, self.heads, "batch or 1, pair, token or 1, value_dim")

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        yield {}
        values = self.values[:, places(self.heads, call)]
        if values.shape[2] == 1:
            return Out(value=values.to(call.q.device))
        found = of_queries(values, call)
        return None if found is None else Out(value=found[0]).only(found[1])
