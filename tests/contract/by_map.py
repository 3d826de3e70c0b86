"""Every statistic once more, from the whole map in a line or two: what the contract suite compares with."""

from collections.abc import Callable
from math import ceil

import torch
from batches import Truth
from torch import Tensor
from torch.nn.functional import normalize, pad

from regard import measure
from regard.core.protocols import Statistic

PROBE = torch.stack([torch.linspace(-1, 1, 80), torch.linspace(0, 3, 80).sin()], -1).double()
"""Two functions of the position."""


def entropy(t: Truth) -> Tensor:
    return t.mean(_entropies(t.a))


def normalised_entropy(t: Truth) -> Tensor:
    reach = (~t.a.isnan()).sum(-1).double()
    return t.mean((_entropies(t.a) / reach.log()).masked_fill(reach == 1, torch.nan))


def distance(t: Truth) -> Tensor:
    return _of_distance(t, (t.p * t.far.abs()).nansum(-1))


def signed_distance(t: Truth) -> Tensor:
    return _of_distance(t, (t.p * t.far).nansum(-1))


def distance_std(t: Truth) -> Tensor:
    mean = (t.p * t.far.abs()).nansum(-1, keepdim=True)
    return _of_distance(t, (t.p * (t.far.abs() - mean) ** 2).nansum(-1).sqrt())


def received(t: Truth) -> Tensor:
    return t.a.nanmean(2)


def received_sum(t: Truth) -> Tensor:
    return t.a.nansum(2).masked_fill((t.k < 0)[:, None], torch.nan)


def sink_score(eps: float, position: int | str) -> Callable[[Truth], Tensor]:
    def score(t: Truth) -> Tensor:
        enough = received(t).masked_fill((~t.a.isnan()).sum(2) < ceil(2 / eps), torch.nan)
        if position == "max":
            return torch.where(enough.isnan().all(-1), torch.nan, enough.nan_to_num(-1).amax(-1))
        at = (t.k == (0 if position == "first" else position))[:, None]
        return torch.where((at & ~enough.isnan()).any(-1), (enough.nan_to_num() * at).sum(-1), torch.nan)

    return score


def sink_rate(eps: float, position: int | str) -> Callable[[Truth], Tensor]:
    def rate(t: Truth) -> Tensor:
        score = sink_score(eps, position)(t)
        return (score > eps).double().masked_fill(score.isnan(), torch.nan)

    return rate


def mass(chosen: Callable[[Tensor], Tensor]) -> Callable[[Truth], Tensor]:
    return lambda t: t.mean((t.a * chosen(t.k)[:, None, None]).nansum(-1))


def head_similarity(t: Truth) -> Tensor:
    return _cosines(t.a)


def centred_head_similarity(t: Truth) -> Tensor:
    return _cosines(t.a - 1 / (~t.a.isnan()).sum(-1, keepdim=True).double())


def top_keys(k: int, last: bool) -> Callable[[Truth], Tensor]:
    def top(t: Truth) -> Tensor:
        a = t.a.masked_fill((t.q < t.q.amax(-1, keepdim=True))[:, None, :, None], torch.nan) if last else t.a
        queries = (~a.isnan().all(-1)).sum(-1)[..., None]
        weights, index = (a.nansum(2) / queries).sort(-1, descending=True)
        entries = torch.stack([t.k[:, None].expand_as(weights).gather(-1, index).double(), weights], -1)
        entries = entries.masked_fill(~(weights > 0)[..., None], torch.nan)
        return pad(entries, (0, 0, 0, k), value=torch.nan)[:, :, :k]

    return top


CASES: list[tuple[Statistic, Callable[[Truth], Tensor]]] = [
    (measure.Distance(), distance),
    (measure.DistanceStd(), distance_std),
    (measure.EffectiveKeys(), lambda t: t.mean_with_mass(_entropies(t.p).exp())),
    (measure.Entropy(), entropy),
    (measure.Entropy(normalised=True), normalised_entropy),
    (measure.EntropySpread(), lambda t: entropy(t).std(-1, correction=0)),
    (measure.HeadSimilarity(), head_similarity),
    (measure.HeadSimilarity(centred=True), centred_head_similarity),
    (measure.KeyFunction(PROBE), lambda t: t.mean(t.a.nan_to_num() @ PROBE[t.k.clamp_min(0)][:, None])),
    (measure.Mass("odd"), mass(lambda k: k % 2 == 1)),
    (measure.Mass("rest"), mass(lambda k: k > 0)),
    (measure.MaxWeight(), lambda t: t.mean(t.a.nan_to_num().amax(-1))),
    (measure.ParticipationRatio(), lambda t: t.mean_with_mass(1 / (t.p**2).nansum(-1))),
    (measure.QueryCount(), lambda t: t.there.sum(-1).double()),
    (measure.Received(), received),
    (measure.Received("sum"), received_sum),
    (
        measure.SegmentMass(("odd", "even")),
        lambda t: torch.stack([mass(lambda k: k % 2 == 1)(t), mass(lambda k: k % 2 == 0)(t)], -1),
    ),
    (measure.SignedDistance(), signed_distance),
    (measure.SinkMass(), mass(lambda k: k == 0)),
    (measure.SinkRate(), sink_rate(0.3, "first")),
    (measure.SinkRate(0.15, position=2), sink_rate(0.15, 2)),
    (measure.SinkRate(0.4, position="max"), sink_rate(0.4, "max")),
    (measure.SinkScore(), sink_score(0.3, "first")),
    (measure.SinkScore(0.9, position=3), sink_score(0.9, 3)),
    (measure.SinkScore(0.5, position="max"), sink_score(0.5, "max")),
    (measure.SinkShare(), lambda t: t.mean(1 - t.a.nansum(-1))),
    (measure.TopKeys(3), top_keys(3, last=False)),
    (measure.TopKeys(4, queries="last"), top_keys(4, last=True)),
]


def _entropies(a: Tensor) -> Tensor:
    return -(a * a.log()).nansum(-1)


def _of_distance(t: Truth, values: Tensor) -> Tensor:
    return t.mean_with_mass(values) if t.role == "self" else torch.full(t.a.shape[:2], torch.nan)


def _cosines(maps: Tensor) -> Tensor:
    flat = normalize(maps.nan_to_num().flatten(2), dim=-1, eps=0)
    return flat @ flat.transpose(-1, -2)
