"""What a measurement found: one result per statistic, with the sites that its first axis runs over."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..core.call import Site
from ..core.protocols import Statistic
from ..core.reduce import Reducer
from . import notebook, stored, tables

if TYPE_CHECKING:
    import pandas
    import xarray


@dataclass(frozen=True, eq=False)
class Result:
    """One statistic over all sites; heads that a site does not have are NaN.

    `mean`, `std` and `counts` are [layer, head, ...] over the texts; a statistic that keeps texts apart has `examples`
    instead, one [layer, head, ...] per text. `axes` names the axes, `coords` what lies along them, and `settings` are those
    of the statistic. All tensors are on the CPU.
    """

    name: str
    axes: tuple[str, ...]
    sites: list[Site]
    values: dict[str, Tensor | list[Tensor]]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def mean(self) -> Tensor:
        """Mean over texts, [layer, head, ...]; raises AttributeError where texts are kept apart."""
        return self._tensor("mean")

    @property
    def std(self) -> Tensor:
        """Standard deviation over texts (n - 1), [layer, head, ...]; NaN for fewer than two."""
        return self._tensor("std")

    @property
    def counts(self) -> Tensor:
        """How many texts each mean is over, [layer, head, ...]."""
        return self._tensor("count")

    @property
    def count(self) -> int:
        """How many texts there are at most behind one number."""
        if self.kept:
            return len(self.examples)
        counts = self.counts[~self.counts.isnan()]
        return int(counts.max()) if counts.numel() else 0

    @property
    def examples(self) -> list[Tensor]:
        """One [layer, head, ...] per text; raises AttributeError where only the mean over texts was kept."""
        found = self.values.get("examples")
        if not isinstance(found, list):
            raise AttributeError(f"{self.name} was averaged over texts and has no examples; it has {self._has}")
        return found

    @property
    def kept(self) -> bool:
        """True where texts are kept apart."""
        return "examples" in self.values

    @property
    def coords(self) -> dict[str, list[Any]]:
        """What lies along each axis: layer numbers, head numbers, places; `path`, `part` and `role` run along the layers."""
        shape = self.shape
        along: dict[str, list[Any]] = {
            axis: list(range(n)) for axis, n in zip(tables.dims(self.axes), shape, strict=False)
        }
        return along | {
            "layer": [site.layer for site in self.sites],
            "path": [str(site) for site in self.sites],
            "part": [site.part for site in self.sites],
            "role": [site.role for site in self.sites],
        }

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes; of a statistic that keeps texts apart, those of the largest."""
        some = [one for value in self.values.values() for one in (value if isinstance(value, list) else [value])]
        return tuple(max(sizes) for sizes in zip(*(one.shape for one in some), strict=True))

    def to_pandas(self) -> "pandas.DataFrame":
        """Return a long table, one row per layer, head and further axis, and per text where texts are kept apart."""
        return tables.frame(self.detach())

    def detach(self) -> "Result":
        """Return the same numbers without gradients."""
        values = {
            name: [one.detach() for one in value] if isinstance(value, list) else value.detach()
            for name, value in self.values.items()
        }
        return replace(self, values=values)

    def __repr__(self) -> str:
        return notebook.line(self.detach())

    @property
    def _has(self) -> str:
        return ", ".join(self.values)

    def _tensor(self, name: str) -> Tensor:
        found = self.values.get(name)
        if not isinstance(found, Tensor):
            raise AttributeError(f"{self.name} has no {name!r}; it has {self._has}")
        return found


@dataclass(frozen=True, eq=False)
class Measurement:
    """The results of one measurement, by the names of the statistics: `s["entropy"].mean`.

    `sites` are what the layer axis runs over; `deviation` is the worst deviation of the spot check from a dense float64
    computation, NaN where none was made.
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

    def to_pandas(self) -> "pandas.DataFrame":
        """Return one long table: a row per statistic, layer and head, with part, role, path, mean, std and number of texts.

        Further axes are columns, empty for statistics without them. A statistic that keeps texts apart has a row per text,
        its value in `mean`, and none where that is NaN. Raises ImportError without pandas (`pip install 'regard[tables]'`).
        """
        return tables.joined(self.detach())

    def to_xarray(self) -> "xarray.Dataset":
        """Return a dataset: NAME is a mean over texts, NAME_std and NAME_count stand beside it, all over named axes.

        A statistic that keeps texts apart has the axis `text` first. Raises ImportError without xarray
        (`pip install 'regard[tables]'`).
        """
        return tables.dataset(self.detach())

    def scalars(self) -> dict[str, float]:
        """Return a flat dict for a tracker of experiments: NAME, NAME/layer.N, both averaged over heads, and `deviation`.

        Where there are several parts or roles, names begin with them: `vision.self/NAME`. What is NaN and what keeps texts
        apart is left out.
        """
        return tables.scalars(self.detach())

    def save(self, path: str | PathLike[str]) -> None:
        """Write all of it to one safetensors file, whole or not at all; `regard.load` reads it."""
        tensors: dict[str, Tensor] = {}
        results = []
        for place, result in enumerate(self.results.values()):
            sizes: dict[str, int | None] = {}
            for name, value in result.values.items():
                sizes[name] = len(value) if isinstance(value, list) else None
                for at, one in enumerate(value if isinstance(value, list) else [value]):
                    tensors[f"{place}/{name}/{at}"] = one
            results.append({"name": result.name, "axes": result.axes, "settings": result.settings, "values": sizes})
        sites = [asdict(site) | {"gives": sorted(site.gives)} for site in self.sites]
        stored.write(path, tensors, {"sites": sites, "results": results, "deviation": self.deviation})

    def detach(self) -> "Measurement":
        """Return the same results without gradients."""
        return replace(self, results={name: result.detach() for name, result in self.results.items()})

    def __repr__(self) -> str:
        return notebook.lines(self.detach())

    def _repr_html_(self) -> str:
        return notebook.maps(self.detach())


def load(path: str | PathLike[str]) -> Measurement:
    """Read what `Measurement.save` wrote; raises ValueError for a file that it did not write, or not to its end."""
    tensors, told = stored.read(path)
    sites = [Site(**one | {"gives": frozenset(one["gives"])}) for one in told["sites"]]
    results = {}
    for place, one in enumerate(told["results"]):
        values: dict[str, Tensor | list[Tensor]] = {}
        for name, n in one["values"].items():
            values[name] = (
                tensors[f"{place}/{name}/0"] if n is None else [tensors[f"{place}/{name}/{at}"] for at in range(n)]
            )
        results[one["name"]] = Result(one["name"], tuple(one["axes"]), sites, values, one["settings"])
    return Measurement(sites, results, told["deviation"])


def gather(statistic: Statistic, sites: list[Site], reducers: dict[Site, Reducer]) -> Result:
    """Join the reducers of one statistic at all sites."""
    finished = [reducers[site].finish() for site in sites]
    values: dict[str, Tensor | list[Tensor]] = {}
    for name in finished[0]:
        found = [one[name] for one in finished]
        lists = [one for one in found if isinstance(one, list)]
        if not lists:
            values[name] = _stacked([one for one in found if isinstance(one, Tensor)])
            continue
        if len({len(one) for one in lists}) > 1:
            counts = sorted({len(one) for one in lists})
            raise ValueError(
                f"{statistic.name} keeps examples apart, and layers saw different numbers of them ({counts}): some attend window "
                "by window, each window an example; take a statistic that is averaged, or measure these layers by themselves"
            )
        values[name] = [_stacked(list(one)) for one in zip(*lists, strict=True)]
    return Result(statistic.name, statistic.axes, sites, values, _settings(statistic))


def _settings(statistic: Statistic) -> dict[str, Any]:
    """Return the fields of a statistic that JSON can hold."""
    given: Any = statistic  # mypy thinks that no protocol is a dataclass
    if not is_dataclass(given):
        return {}
    named = {one.name: getattr(given, one.name) for one in fields(given) if one.name not in ("name", "axes")}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in named.items() if _plain(value)}


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool) or (isinstance(value, tuple) and all(map(_plain, value)))


def _stacked(tensors: list[Tensor]) -> Tensor:
    """Stack [head, ...] tensors, padded with NaN to the largest."""
    shape = [max(sizes) for sizes in zip(*(tensor.shape for tensor in tensors), strict=True)]
    whole = tensors[0].new_full((len(tensors), *shape), torch.nan)
    for place, tensor in enumerate(tensors):
        whole[place][tuple(slice(0, size) for size in tensor.shape)] = tensor
    return whole
