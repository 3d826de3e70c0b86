"""One family in a process of its own: build it, let the doctor examine it, say in a row what came out."""

import importlib
import multiprocessing
import re
import resource
import signal
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

import regard
from regard.doctor import Examination, checks, examine
from regard.doctor.examination import CHECKS
from regard.doctor.inputs import short_inputs
from regard.hosts.refuse import Refusal
from regard.lens.liveness import prove

from .family import Built, Family

SECONDS = 90
MEMORY = 8 << 30
"""Bytes of address space: what the libraries map counts, too."""
CORE = frozenset(
    {
        "attention is heard",
        "attention is read exactly",
        "every site is live",
        "listening changes nothing",
        "no weight on the future",
        "nothing is left behind",
        "rows add up",
    }
)
"""The checks without which nothing holds; where only others fail, a family is partly covered."""
Row = dict[str, Any]


def library(name: str) -> Any:
    """Return the module that builds the families of a library; raises ImportError where the library is missing."""
    return importlib.import_module(f"{__package__}.{name}_models")


def examined(family: Family) -> Row:
    """Build and examine a family in this process, and return its row."""
    torch.set_num_threads(1)
    begun = time.perf_counter()
    builder = library(family.library)
    row: Row = {"library": family.library, "family": family.name}
    if family.name in builder.NO_ATTENTION:
        return row | {"verdict": "no attention", "reason": builder.NO_ATTENTION[family.name]}
    try:
        built = builder.build(family.name)
    except Exception as error:  # whatever a library raises is a reason
        return row | {"verdict": "not built", "reason": _line(error)}
    row |= {"class": type(built.model).__name__, "parameters": sum(p.numel() for p in built.model.parameters())}
    return row | _row(built) | {"seconds": round(time.perf_counter() - begun)} | _versions(family.library)


def in_processes(families: Iterable[Family], jobs: int) -> Iterator[Row]:
    """Yield the rows of families as they come, each examined in a process with limits of time and memory."""
    for check in CHECKS:  # once, here, and not in every process
        importlib.import_module(f"{checks.__name__}.{check}")
    fork = multiprocessing.get_context("fork")
    waiting = list(families)[::-1]
    running: dict[Connection, tuple[Family, Any]] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            family = waiting.pop()
            ours, theirs = fork.Pipe(duplex=False)
            process = fork.Process(target=_child, args=(family, theirs), daemon=True)
            process.start()
            theirs.close()
            running[ours] = family, process
        for ready in wait(list(running)):
            assert isinstance(ready, Connection)
            family, process = running.pop(ready)
            try:
                row = ready.recv()
            except EOFError:
                process.join()
                row = {"library": family.library, "family": family.name} | _killed(process.exitcode)
            ready.close()
            process.join()
            yield row


def _child(family: Family, answer: Connection) -> None:
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answer.send(examined(family))


def _killed(code: int | None) -> Row:
    reason = f"took more than {SECONDS} s" if code == -signal.SIGALRM else f"its process ended with {code}"
    return {"verdict": "failed", "failing": [], "reason": reason}


def _row(built: Built) -> Row:
    try:
        lens = regard.attach(built.model, check=False)
        examination = examine(lens, built.x)
    except Refusal as refusal:
        return {"verdict": "refused", "reason": _line(refusal)}
    except Exception as error:  # no inputs are known, or the model cannot be attached to
        return {"verdict": "failed", "failing": [], "reason": _line(error)}
    if not examination.sites:
        try:
            prove(built.model, short_inputs(lens) if built.x is None else built.x, lens.notes.append)
        except ValueError as error:  # this is what whoever attaches is told
            return {"verdict": "refused", "reason": _line(error)}
    tiers: Counter[str] = Counter()
    for sites in examination.sites:
        tiers[sites.tier] += sites.count
    row: Row = {"tiers": dict(sorted(tiers.items()))}
    if _of_text_alone(built.model, examination):
        row["of"] = "text alone"
    return row | _verdict(examination)


def _of_text_alone(model: Any, examination: Examination) -> bool:
    """Say whether a model sees or hears, too, and no inputs were found that make it."""
    fields = vars(model.config) if hasattr(model, "config") else {}
    more = any(re.match("vision_(config|encoder)|(audio|speech|image|video|encoder)_config", field) for field in fields)
    return more and {sites.part for sites in examination.sites} == {"main"}


def _verdict(examination: Examination) -> Row:
    """Say what the findings come to; a failure that is the model's own is told, and does not count against the reading."""
    failed = [one for one in examination.findings if one.verdict == "failed"]
    ours = [one for one in failed if one.whose == "ours"]
    seen = [one.deviation for one in examination.findings if one.deviation is not None and one not in failed]
    worst = max([one.deviation for one in ours if one.deviation is not None], default=max(seen, default=None))
    verdict = "exact" if not ours else "failed" if any(one.name in CORE for one in ours) else "partial"
    refusals = [one.sentence for one in ours if one.sentence.startswith("Refusal: ")]
    if refusals:
        return {"verdict": "refused", "reason": refusals[0].removeprefix("Refusal: ")}
    row: Row = {"verdict": verdict, "deviation": None if worst is None else float(f"{worst:.0e}")}
    if failed:
        row |= {"failing": [one.name for one in failed], "reason": "; ".join(_told(one) for one in ours or failed)}
    return row


def _told(finding: Any) -> str:
    return f"{finding.name}: {finding.sentence}"


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)[:300] or 'no reason given'}"


def _versions(name: str) -> Row:
    return {"versions": {package: _version(package) for package in ("torch", name)}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
