"""How far attention reaches."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.call import Call
from ..core.reduce import Moments
from ..core.terms import Block, Rows, Term


@dataclass(frozen=True)
class Distance:
    """Mean distance in tokens between a query and what it attends to, [layer, head]: `sum_j A_ij |i - j|`.

    Positions are counted without padding. NaN for cross-attention, where queries and keys lie on different sequences.
    """

    name: ClassVar[str] = "distance"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for exact rows, block by block: an absolute distance is no fixed functional of a row."""
        if call.site.role == "cross":
            return torch.full((call.op.batch, call.op.heads), torch.nan)

        def distance(weights: Tensor, block: Block) -> Tensor:
            q = call.qpos[:, None, slice(*block.rows), None]
            k = call.kpos[:, None, None, slice(*block.cols)]
            return torch.linalg.vecdot(weights, (q - k).abs().to(weights.dtype))

        got = yield {"distance": Rows(distance)}
        return call.mean(got["distance"])
