"""Examples of every edit: at full strength, at the strength that changes nothing, and cut to one text of a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import torch
from torch import Tensor

from regard import edit
from regard.edit import BaseEdit


@dataclass(frozen=True)
class Ground:
    """What an edit has to fit: its (layer, head) pairs and two segments, and the sizes of the attention under it."""

    pairs: Sequence[tuple[int, int]]
    one: str
    other: str
    batch: int
    tokens: int
    dim: int
    value_dim: int
    seed: int = 0
    generator: torch.Generator = field(default_factory=torch.Generator)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator.manual_seed(self.seed), dtype=torch.float64)

    @property
    def shared(self) -> int:
        """Tokens of given tensors: fewer than the run has, where it has several."""
        return max(1, self.tokens - 2)


@dataclass(frozen=True)
class Own:
    """What the unedited attention has at the pairs: queries, outputs."""

    q: Tensor
    out: Tensor


@dataclass(frozen=True)
class Case:
    """An example of an edit; `alone` is None where a text's edit is not its own."""

    name: str
    strong: Callable[[Ground], BaseEdit]
    neutral: Callable[[Ground, Own], BaseEdit] | None = None
    alone: Callable[[Any, int, Tensor], BaseEdit] | None = lambda edit, text, real: edit


def _cut(name: str, *axes: int) -> Callable[[Any, int, Tensor], BaseEdit]:
    """Take one text's real tokens of a tensor [batch, ...] that has tokens along some axes."""

    def cut(edit: Any, text: int, real: Tensor) -> BaseEdit:
        given = getattr(edit, name)[text : text + 1]
        for axis in axes:
            given = given.index_select(axis, real[: given.shape[axis]].nonzero()[:, 0])
        return replace(edit, **{name: given})

    return cut


def _queries(g: Ground) -> BaseEdit:
    return edit.PatchQueries(g.pairs, g.normal(g.batch, len(g.pairs), g.shared, g.dim))


def _outputs(g: Ground) -> BaseEdit:
    return edit.PatchHeads(g.pairs, g.normal(g.batch, len(g.pairs), g.shared, g.value_dim))


def _weights(g: Ground) -> BaseEdit:
    return edit.PatchWeights(g.pairs, g.normal(g.batch, len(g.pairs), g.shared, g.tokens).softmax(-1))


def _segments(g: Ground, renormalise: Any) -> BaseEdit:
    return edit.ScaleSegments({g.one: 0.25, g.other: 1.75}, renormalise)


def _keys(g: Ground, renormalise: Any) -> BaseEdit:
    return edit.ScaleKeys(g.normal(g.batch, g.shared).exp(), renormalise)


CASES = [
    Case("ScaleHeads", lambda g: edit.ScaleHeads(g.pairs, -0.5), lambda g, own: edit.ScaleHeads(g.pairs, 1.0)),
    Case("ZeroHeads", lambda g: edit.ZeroHeads(g.pairs)),
    Case("MeanHeads", lambda g: edit.MeanHeads(g.pairs, g.normal(len(g.pairs), g.value_dim))),
    Case(
        "ResampleHeads",
        lambda g: edit.ResampleHeads(g.pairs, (*range(1, g.batch), 0)),
        lambda g, own: edit.ResampleHeads(g.pairs, range(g.batch)),
        alone=None,
    ),
    Case("UniformHeads", lambda g: edit.UniformHeads(g.pairs)),
    Case("PatchHeads", _outputs, lambda g, own: edit.PatchHeads(g.pairs, own.out), _cut("values", 2)),
    Case("PatchHeads everywhere", lambda g: edit.PatchHeads(g.pairs, g.normal(1, len(g.pairs), 1, g.value_dim))),
    Case("PatchQueries", _queries, lambda g, own: edit.PatchQueries(g.pairs, own.q), _cut("given", 2)),
    Case("PatchWeights", _weights, alone=_cut("weights", 2, 3)),
    Case(
        "Interpolate identity",
        lambda g: edit.Interpolate("identity", 0.4),
        lambda g, own: edit.Interpolate("identity", 0.0),
    ),
    Case(
        "Interpolate uniform",
        lambda g: edit.Interpolate("uniform", 0.4),
        lambda g, own: edit.Interpolate("uniform", 0.0),
    ),
    Case("BiasKeys", lambda g: edit.BiasKeys(g.one, 1.5), lambda g, own: edit.BiasKeys(g.one, 0.0)),
    Case("BiasKeys -inf", lambda g: edit.BiasKeys(g.one, -inf)),
    Case("BlockKeys", lambda g: edit.BlockKeys(g.one), lambda g, own: edit.BlockKeys("nothing")),
    Case(
        "ScaleSegments",
        lambda g: _segments(g, False),
        lambda g, own: edit.ScaleSegments({g.one: 1.0, g.other: 1.0}),
    ),
    Case(
        "ScaleSegments mass",
        lambda g: _segments(g, "mass"),
        lambda g, own: edit.ScaleSegments({g.one: 1.0}, "mass"),
    ),
    Case(
        "ScaleSegments one",
        lambda g: _segments(g, "one"),
        lambda g, own: edit.ScaleSegments({g.one: 1.0}, "one"),
    ),
    Case(
        "ScaleKeys",
        lambda g: _keys(g, False),
        lambda g, own: edit.ScaleKeys(torch.ones(g.tokens)),
        _cut("factors", 1),
    ),
    Case(
        "ScaleKeys one",
        lambda g: _keys(g, "one"),
        lambda g, own: edit.ScaleKeys(torch.ones(g.tokens), "one"),
        _cut("factors", 1),
    ),
    Case(
        "Redistribute",
        lambda g: edit.Redistribute(g.one, g.other, 0.6),
        lambda g, own: edit.Redistribute(g.one, g.other, 0.0),
    ),
    Case(
        "ReinforceHeads",
        lambda g: edit.ReinforceHeads(g.pairs, torch.ones(g.batch, len(g.pairs)).bool(), 3.0),
        lambda g, own: edit.ReinforceHeads(g.pairs, torch.ones(1, len(g.pairs)).bool(), 1.0),
        _cut("chosen"),
    ),
]
