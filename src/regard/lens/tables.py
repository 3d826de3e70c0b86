"""Results as tables of other libraries, and as plain numbers."""

import math
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    import pandas
    import xarray

    from .results import Measurement, Result


def dims(axes: tuple[str, ...]) -> list[str]:
    """Return names of axes that all differ: the second `head` is `head_2`."""
    return [axis if (n := axes[:at].count(axis)) == 0 else f"{axis}_{n + 1}" for at, axis in enumerate(axes)]


def frame(result: "Result") -> "pandas.DataFrame":
    """Return the long table of one statistic."""
    pandas = _library("pandas")
    if not result.kept:
        columns = {
            "texts" if name == "count" else name: value.numpy()
            for name, value in result.values.items()
            if isinstance(value, torch.Tensor)
        }
        return pandas.DataFrame(_rows(result, columns)).astype({"texts": "int64"} if "texts" in columns else {})
    parts = []
    for text, example in enumerate(result.examples):
        value = example.double().numpy()
        rows = _rows(result, {"mean": value})
        there = ~np.isnan(rows["mean"])
        more = {"text": text, "std": np.nan, "texts": 1}
        parts.append(pandas.DataFrame({name: column[there] for name, column in rows.items()}).assign(**more))
    return pandas.concat(parts, ignore_index=True)


def _rows(result: "Result", columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return columns [row] of arrays [layer, head, ...], for the heads that there are."""
    axes = dims(result.axes)
    shape = next(iter(columns.values())).shape
    at = dict(zip(axes, np.indices(shape).reshape(len(shape), -1), strict=True))
    heads = np.array([site.heads for site in result.sites])[at["layer"]]
    there = np.ones(len(heads), dtype=bool)
    for axis in axes:
        if axis.partition("_")[0] == "head":
            there &= at[axis] < heads
    layer = at["layer"][there]
    told = {
        name: np.array([getattr(site, name) for site in result.sites], dtype=object)[layer]
        for name in ("part", "role", "path")
    }
    return {
        "statistic": np.full(len(layer), result.name, dtype=object),
        **told,
        "layer": np.array([site.layer for site in result.sites])[layer],
        **{axis: at[axis][there] for axis in axes if axis != "layer"},
        **{name: column.reshape(-1)[there] for name, column in columns.items()},
    }


def joined(measurement: "Measurement") -> "pandas.DataFrame":
    """Return the long table of all statistics."""
    frames = [frame(result) for result in measurement.results.values()]
    table = _library("pandas").concat(frames, ignore_index=True)
    first = [name for name in ("statistic", "part", "role", "path", "layer", "head") if name in table]
    last = [name for name in ("mean", "std", "texts") if name in table]
    return table[first + [name for name in table if name not in (*first, *last)] + last]


def dataset(measurement: "Measurement") -> "xarray.Dataset":
    """Return all statistics over named axes."""
    xarray = _library("xarray")
    arrays: dict[str, Any] = {}
    for name, result in measurement.results.items():
        coords = result.coords
        along = {key: ("layer", coords[key]) for key in ("layer", "path", "part", "role")}
        axes = dims(result.axes)
        if result.kept:
            whole = np.full((len(result.examples), *result.shape), np.nan)
            for text, example in enumerate(result.examples):
                whole[text][tuple(slice(0, n) for n in example.shape)] = example.numpy()
            found = {name: (["text", *axes], whole)}
        else:
            found = {
                name if key == "mean" else f"{name}_{key}": (axes, value.numpy())
                for key, value in result.values.items()
                if isinstance(value, torch.Tensor)
            }
        for key, (over, values) in found.items():
            places = {axis: range(n) for axis, n in zip(over, values.shape, strict=True) if axis != "layer"}
            arrays[key] = xarray.DataArray(values, dims=over, coords={**places, **along}, attrs=result.settings)
    aligned = xarray.align(*arrays.values(), join="outer")
    return xarray.Dataset(dict(zip(arrays, aligned, strict=True)), attrs={"deviation": measurement.deviation})


def scalars(measurement: "Measurement") -> dict[str, float]:
    """Return means over heads as a flat dict."""
    several = len({(site.part, site.role) for site in measurement.sites}) > 1
    found: dict[str, list[torch.Tensor]] = {}
    for name, result in measurement.results.items():
        if result.kept or "mean" not in result.values:
            continue
        for site, values in zip(result.sites, result.mean, strict=True):
            prefix = f"{site.part}.{site.role}/{name}" if several else name
            found.setdefault(prefix, []).append(values.flatten())
            found.setdefault(f"{prefix}/layer.{site.layer}", []).append(values.flatten())
    means = {name: float(torch.cat(values).nanmean()) for name, values in found.items()}
    return {
        name: value for name, value in {**means, "deviation": measurement.deviation}.items() if not math.isnan(value)
    }


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"this table needs {name}, which is not installed; run: pip install 'regard[tables]'"
        ) from error
