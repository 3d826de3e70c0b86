"""How far attention reaches."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.call import Call
from ..core.reduce import Moments
from ..core.terms import Block, Far, Row, Rows, Term
from .rows import average, mass, root

Plan = Generator[dict[str, Term], dict[str, Tensor], Tensor]


@dataclass(frozen=True)
class Distance:
    """Mean distance in tokens between a query and what it attends to, [layer, head]: `sum_j A_ij |i - j| / sum_j A_ij`.

    Positions are counted without padding. A row that gives all its weight to a sink logit is left out. NaN for
    cross-attention, where queries and keys lie on different sequences.
    """

    name: ClassVar[str] = "distance"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Plan:
        """Ask for the mean position where no query sees ahead of itself, and otherwise for the mean distance."""
        if call.site.role == "cross":
            return _nowhere(call)
        if _looks_back(call):
            return (yield from _backwards(call))
        got = yield {"far": Far(call.qpos, call.kpos), "mass": mass(call)}
        return _mean(call, got["far"], got["mass"][..., 0])


@dataclass(frozen=True)
class SignedDistance:
    """Mean of how far back a query attends, in tokens, negative for ahead, [layer, head]: `sum_j A_ij (i - j) / sum_j A_ij`.

    It differs from `Distance` where queries see ahead of themselves. Rows and sites are left out as there.
    """

    name: ClassVar[str] = "signed_distance"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Plan:
        """Ask for the mean position, a row functional."""
        return _nowhere(call) if call.site.role == "cross" else (yield from _backwards(call))


@dataclass(frozen=True)
class DistanceStd:
    """Standard deviation of the distance within a row, in tokens, mean over queries, [layer, head].

    It is 0 for a head that looks at one place, near or far. Rows and sites are left out as in `Distance`.
    """

    name: ClassVar[str] = "distance_std"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Plan:
        """Ask for exact rows: squares of positions as a row functional would cancel, by tokens where a row looks far back."""
        if call.site.role == "cross":
            return _nowhere(call)

        def variance(weights: Tensor, block: Block) -> Tensor:
            far, total = _distances(call, weights, block), weights.sum(-1)
            mean = torch.linalg.vecdot(weights, far) / torch.where(total > 0, total, 1.0)
            return torch.stack([torch.linalg.vecdot(weights, (far - mean[..., None]) ** 2), total], -1)

        got = yield {"variance": Rows(variance)}
        squares, mass = got["variance"].unbind(-1)
        return average(root(squares / torch.where(mass > 0, mass, 1.0)), call.live & (mass > 0))


def _nowhere(call: Call) -> Tensor:
    return torch.full((call.op.batch, call.op.heads), torch.nan, device=call.q.device)


def _looks_back(call: Call) -> bool:
    mask = call.op.mask
    return mask.causal and mask.offset <= call.q_index - call.k_index


def _backwards(call: Call) -> Plan:
    columns = torch.stack([call.kpos, torch.ones_like(call.kpos)], -1).to(call.op.work_dtype)
    got = yield {"position": Row(columns)}
    position, given = got["position"].unbind(-1)
    return _mean(call, call.qpos[:, None] * given - position, given)


def _mean(call: Call, total: Tensor, given: Tensor) -> Tensor:
    return average(total / torch.where(given > 0, given, 1.0), call.live & (given > 0))


def _distances(call: Call, weights: Tensor, block: Block) -> Tensor:
    q = call.qpos[:, None, slice(*block.rows), None]
    k = call.kpos[:, None, None, slice(*block.cols)]
    return (q - k).abs().to(weights.dtype)
