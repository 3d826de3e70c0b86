"""What a measurement found: one result per statistic, with the sites that its first axis runs over."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..core.call import Site
from ..core.protocols import Statistic
from ..core.reduce import Keep, Moments, Reducer


@dataclass(frozen=True)
class Result:
    """One statistic over all sites; heads that a site does not have are NaN.

    `mean` and `std` are [layer, head, ...] over the texts, `count` of them; a statistic that keeps texts apart has `examples`
    instead, one [layer, head, ...] per text.
    """

    name: str
    axes: tuple[str, ...]
    mean: Tensor | None = None
    std: Tensor | None = None
    count: int = 0
    examples: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Measurement:
    """The results of one measurement, by the names of the statistics: `s["entropy"].mean`.

    `sites` are what the layer axis runs over; `deviation` is the worst deviation of the spot check from a dense float64
    computation.
    """

    sites: list[Site]
    results: dict[str, Result]
    deviation: float

    def __getitem__(self, name: str) -> Result:
        if name not in self.results:
            raise KeyError(f"no statistic {name!r} was measured; there are {', '.join(self.results)}")
        return self.results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)


def gather(statistic: Statistic, sites: list[Site], reducers: dict[Site, Reducer]) -> Result:
    """Join the reducers of one statistic at all sites."""
    chosen = [reducers[site] for site in sites]
    if all(isinstance(reducer, Moments) for reducer in chosen):
        moments = [reducer for reducer in chosen if isinstance(reducer, Moments)]
        counts = [int(one.count.max()) for one in moments if one.count.numel()]
        return Result(
            statistic.name,
            statistic.axes,
            _stacked([one.mean for one in moments]),
            _stacked([one.std for one in moments]),
            max(counts, default=0),
        )
    kept = [reducer.examples for reducer in chosen if isinstance(reducer, Keep)]
    examples = [_stacked(list(one)) for one in zip(*kept, strict=True)]
    return Result(statistic.name, statistic.axes, count=len(examples), examples=examples)


def _stacked(tensors: list[Tensor]) -> Tensor:
    """Stack [head, ...] tensors, padded with NaN to the largest."""
    if not tensors:
        return torch.empty(0)
    shape = [max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors), strict=True)]
    whole = tensors[0].new_full((len(tensors), *shape), torch.nan)
    for place, tensor in enumerate(tensors):
        whole[place][tuple(slice(0, size) for size in tensor.shape)] = tensor
    return whole
