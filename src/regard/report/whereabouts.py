"""Statistics that only a report asks for: where attention goes, by area, and what heads do without their sinks."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..core.call import Call
from ..core.reduce import Finished, Moments
from ..core.terms import Block, Far, Row, Rows, Score, Term, Without
from ..lens.sink_evidence import SinkEvidence

AREAS = ("first", "other sinks", "image", "system", "user", "assistant", "last 16", "rest", "sink logit")
NAMED = AREAS[2:6]
LAST = 16
QUERIES = 12
SHARE = 0.1  # of a layer's attention on one token after the first makes it a sink, too
TIMES_EVEN = 4.0  # and it gets so many times what even attention would give it, which counts in short texts
LEFT = 1e-6  # a row with less weight than this besides its sinks has nothing to renormalise

Plan = Generator[dict[str, Term], dict[str, Tensor], Tensor]


@dataclass(frozen=True)
class Whereabouts:
    """Share of attention by area, and entropy and distance without the sinks, [layer, head, entry].

    The entries are those of `AREAS`, then the entropy in nats and the distance in tokens, both renormalised without the
    first token and the other sinks. The areas are disjoint and add up to 1: each key is in the first that fits, and in a text
    "last 16" are those of the 16 tokens up to the query's own that are in no other. A token after the first is a sink of its
    layer, and text, if it gets more than `SHARE` of the layer's attention and `TIMES_EVEN` times an even share.
    """

    text: bool
    name: ClassVar[str] = "whereabouts"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head", "entry")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Plan:
        """Ask for the column sums, which tell the sinks, then for the rest; what is recent needs exact rows."""
        got = yield {"received": call.received}
        areas = _areas(call, other_sinks(call, got["received"]))
        sinks, rest = areas[..., 0] | areas[..., 1], areas[..., -1]
        own = call.site.role == "self"

        def recent(weights: Tensor, block: Block) -> Tensor:
            cols = slice(*block.cols)
            back = call.qpos[:, None, slice(*block.rows), None] - call.kpos[:, None, None, cols]
            near = rest[:, None, None, cols] & (back >= 0) & (back < LAST)
            return torch.linalg.vecdot(weights, near.to(weights.dtype))

        asked: dict[str, Term] = {
            "mass": Row(areas.to(call.op.work_dtype)),
            "entropy": Without(sinks, Score()),
            "distance": Without(sinks, Far(call.qpos, call.kpos)),
        }
        if own and self.text:  # patches stand in no line, and the keys of cross-attention in another
            asked["recent"] = Rows(recent)
        got = yield asked
        mass = got["mass"]
        near = got["recent"] if "recent" in got else torch.zeros_like(mass[..., -1])
        nothing = mass[..., 2:].sum(-1) <= LEFT
        # Without its sinks, a row that has nothing else has no entropy; and queries and keys may lie on different sequences.
        entropy = (-got["entropy"]).masked_fill(nothing, torch.nan)
        distance = got["distance"].masked_fill(nothing if own else torch.ones_like(nothing), torch.nan)
        tail = [near, mass[..., -1] - near, 1 - mass.sum(-1), entropy, distance]
        found = torch.cat([mass[..., :-1], torch.stack(tail, -1)], -1)
        there = call.live[..., None] & ~found.isnan()
        return torch.where(there, found, 0.0).sum(2) / there.sum(2)


def other_sinks(call: Call, received: Tensor) -> Tensor:
    """Return which keys but the first are sinks of this layer, bool [batch, key], from what they receive [batch, head, key]."""
    keys = (call.kpos >= 0).sum(-1, keepdim=True)
    return (call.kpos > 0) & (shares(call, received) > (TIMES_EVEN / keys.clamp_min(1)).clamp_min(SHARE))


def shares(call: Call, received: Tensor) -> Tensor:
    """Return the share of a layer's attention that each key gets, mean over heads and queries, [batch, key]."""
    return (received / call.live.sum(-1, keepdim=True).clamp_min(1)).mean(1)


def _areas(call: Call, sinks: Tensor) -> Tensor:
    """Return which area each key is in, bool [batch, key, area], of those that do not depend on the query; rest is the last."""
    found = [call.kpos == 0, sinks, *(_named(call, name) for name in NAMED)]
    taken = torch.zeros_like(sinks)
    areas = []
    for one in found:
        areas.append(one & ~taken)
        taken = taken | one
    return torch.stack([*areas, (call.kpos >= 0) & ~taken], -1)


def _named(call: Call, name: str) -> Tensor:
    try:
        return call.keys(name)
    except KeyError:  # no token of the run has this name, or the keys are no tokens of the text
        return torch.zeros_like(call.kpos, dtype=torch.bool)


@dataclass
class Joined:
    """Values of one example that comes in one call or, window by window, in several: joined along the keys."""

    pieces: list[Tensor] = field(default_factory=list)

    def add(self, values: Tensor) -> None:
        self.pieces.extend(values.detach().float().cpu())

    def merge(self, other: "Joined") -> None:
        self.pieces.extend(other.pieces)

    def finish(self) -> Finished:
        return {"joined": torch.cat(self.pieces, 1)}


@dataclass
class Whole(Joined):
    """Values of one example that comes in one call; NaN where windows come one by one, whose keys are in another order."""

    def finish(self) -> Finished:
        joined = torch.cat(self.pieces, 1)
        return {"joined": joined if len(self.pieces) == 1 else torch.full_like(joined, torch.nan)}


@dataclass(frozen=True)
class WholeEvidence(SinkEvidence):
    """`SinkEvidence` of one example, [layer, head, key, entry]."""

    name: ClassVar[str] = "whole_evidence"

    def reducer(self) -> Whole:  # type: ignore[override]  # one example, so there are none to keep apart
        """Keep the example, where it is whole."""
        return Whole()


@dataclass(frozen=True)
class PerKey:
    """What each key gets of one example, [layer, head, key, entry], window after window where there are several.

    The entries are the mean over the queries that can see it, the layer's share (alike for all heads), and whether it is one
    of the other sinks. NaN where no query sees it.
    """

    name: ClassVar[str] = "per_key"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head", "key", "entry")

    def reducer(self) -> Joined:
        """Join windows."""
        return Joined()

    def plan(self, call: Call) -> Plan:
        """Ask for the column sums."""
        received = (yield {"received": call.received})["received"]
        seen = call.visible * call.keys("all")[:, None]
        mean = torch.where(seen > 0, received / seen.clamp_min(1), torch.nan)
        share = shares(call, received)[:, None].expand_as(mean)
        sinks = other_sinks(call, received)[:, None].expand_as(mean)
        return torch.stack([mean, share, sinks.to(mean.dtype)], -1)


def spaced(n: int) -> list[int]:
    """Return which of n queries are shown: the first, the last, and some evenly between them."""
    return sorted(set(np.linspace(0, n - 1, QUERIES).round().astype(int).tolist()))


@dataclass
class First:
    """The values of the first example alone."""

    values: Tensor | None = None

    def add(self, values: Tensor) -> None:
        if self.values is None:
            self.values = values[0].detach().float().cpu()

    def merge(self, other: "First") -> None:
        self.values = other.values if self.values is None else self.values

    def finish(self) -> Finished:
        assert self.values is not None
        return {"first": self.values}


@dataclass(frozen=True)
class FavouriteKeys:
    """The keys that some queries of one example attend to most, [layer, head, query, rank, entry]: index and weight.

    The queries are those of `spaced`, among the real ones; NaN where one sees fewer than `k` keys.
    """

    k: int = 5
    name: ClassVar[str] = "favourite_keys"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head", "query", "rank", "entry")

    def reducer(self) -> First:
        """Keep the first example."""
        return First()

    def plan(self, call: Call) -> Plan:
        """Ask for exact rows, of which only a few are looked at."""
        real = (call.qpos[0] >= 0).nonzero().flatten()
        shown = real[spaced(len(real))]

        def favourites(weights: Tensor, block: Block) -> Tensor:
            found = weights.new_full((*weights.shape[:3], self.k, 2), torch.nan)
            here = shown[(shown >= block.rows[0]) & (shown < block.rows[1])] - block.rows[0]
            top = weights[:, :, here].topk(min(self.k, weights.shape[-1]), -1)
            pair = torch.stack([top.indices.to(weights.dtype) + block.cols[0], top.values], -1)
            found[:, :, here, : pair.shape[-2]] = pair.masked_fill((top.values <= 0)[..., None], torch.nan)
            return found

        return (yield {"favourites": Rows(favourites)})["favourites"][:, :, shown]
