"""What a benchmark found, as plain data."""

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from statistics import quantiles
from typing import Any

import torch

from .arms import Arm, gate
from .memory import peak_bytes
from .timing import BUSY, WARM_UP, interleaved, preemptions, threads

SCHEMA = "regard.bench/1"
PLAIN, EAGER = "plain", "eager"
"""Paths that the others are compared with."""


@dataclass(frozen=True)
class Setting:
    """How a benchmark was run; `runs` are timed, after `warm_up` untimed ones."""

    dtype: str
    device: str
    threads: int
    runs: int
    seed: int
    warm_up: int = WARM_UP


@dataclass(frozen=True)
class Spread:
    """Median and quartiles."""

    median: float
    q1: float
    q3: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of values."""
        q1, median, q3 = quantiles(values, method="inclusive")
        return cls(median, q1, q3)


@dataclass(frozen=True)
class Line:
    """One arm: its time, its time over that of the plain and the eager arm in the same round, peak memory, deviation.

    `to_eager` is None where there is no eager arm.
    """

    quantity: str
    path: str
    seconds: Spread
    to_plain: Spread
    to_eager: Spread | None
    peak_bytes: int
    deviation: float | None


@dataclass(frozen=True)
class Shape:
    """The lines of one shape; `shape` gives its sizes by name, `preempted` is per second of timing."""

    shape: dict[str, Any]
    lines: list[Line]
    preempted: float | None

    @property
    def busy(self) -> bool:
        """Whether other processes took so much of the machine that the ratios mean little."""
        return self.preempted is not None and self.preempted >= BUSY


@dataclass(frozen=True)
class Result:
    """A whole benchmark."""

    benchmark: str
    subject: str
    setting: Setting
    machine: dict[str, Any]
    versions: dict[str, str]
    shapes: list[Shape]

    def to_json(self) -> dict[str, Any]:
        """The result as JSON values, with its schema."""
        return {"schema": SCHEMA} | asdict(self)


def compare(shape: dict[str, Any], arms: Sequence[Arm], setting: Setting, progress: Callable[[], None]) -> Shape:
    """Check every arm against the oracle, then measure memory, then time them; `progress` is told of each round.

    Raises ValueError, before anything is timed, if an arm is not right.
    """
    with threads(setting.threads), torch.no_grad():
        dtype = getattr(torch, setting.dtype)
        off = [gate(arm, dtype) for arm in arms]
        peaks = [peak_bytes(arm.run) for arm in arms]
        before, begun = preemptions(), time.perf_counter()
        seconds = interleaved(arms, setting.runs, torch.device(setting.device), setting.seed, progress)
        after, took = preemptions(), time.perf_counter() - begun
    by_path = dict(zip((arm.path for arm in arms), seconds, strict=True))
    lines = [
        Line(
            arm.quantity,
            arm.path,
            Spread.of(times),
            Spread.of(_ratios(times, by_path[PLAIN])),
            Spread.of(_ratios(times, by_path[EAGER])) if EAGER in by_path else None,
            peak,
            worst,
        )
        for arm, times, peak, worst in zip(arms, seconds, peaks, off, strict=True)
    ]
    preempted = None if before is None or after is None else (after - before) / took
    return Shape(shape, lines, preempted)


def _ratios(seconds: Sequence[float], base: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(seconds, base, strict=True)]


def machine(device: str) -> dict[str, Any]:
    """Return the device's name, the system and the number of processors."""
    place = torch.device(device)
    name = _processor() if place.type == "cpu" else torch.get_device_module(place).get_device_name(place)
    return {"device": name, "system": platform.platform(), "cpus": os.cpu_count()}


def _processor() -> str:
    """The processor's name, which Linux alone has in a file."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of packages and of Python."""
    return {package: _version(package) for package in packages} | {"python": platform.python_version()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
