"""All checks on one model."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pkgutil import iter_modules
from typing import Any

import torch
from torch import Tensor, nn

from ..core.call import Call
from ..lens import Lens
from ..lens.aside import evaluating
from . import checks
from .finding import Examination, Finding, Sites
from .inputs import short_inputs
from .media import with_media
from .passes import watch

Check = Callable[[nn.Module, Lens, Mapping[str, Any]], Finding]
CHECKS = sorted(module.name for module in iter_modules(checks.__path__) if not module.name.startswith("_"))
"""The checks: modules of `checks`, each with a `NAME` and a function `check(model, lens, x)`."""


class Deaf(Exception):
    """No attention was heard."""


def examine(
    lens: Lens,
    x: Mapping[str, Any] | None = None,
    only: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Examination:
    """Check, on the model of a lens, that what is measured and edited is what the model computes.

    `x` are inputs for the model, an example per row and without padding; by default a few short ones are made up. A model of
    text and of images or sounds gets text alone and both, and each check tells the worse of what it finds. `only` names the
    checks, of `CHECKS`, and `progress` is told how many are done. A check that raises has failed. Raises ValueError where no
    inputs are known, and for a check that there is not.
    """
    chosen = CHECKS if only is None else only
    unknown = [name for name in chosen if name not in CHECKS]
    if unknown:
        raise ValueError(f"there is no check {unknown[0]!r}; there are {', '.join(CHECKS)}")
    begun = time.perf_counter()
    model = lens.model
    findings = []
    with evaluating(model):
        given = [short_inputs(lens), *with_media(lens)] if x is None else [dict(x)]
        try:
            sites = _sites(model, given)
        except Deaf as error:
            sites = []
            findings.append(Finding("attention is heard", "failed", None, str(error)))
        except Exception as error:  # whatever breaks here breaks for the user, too
            sites = []
            findings.append(_broken("attention is heard", error))
        for done, name in enumerate(chosen, 1):
            found = [_checked(name, model, lens, one) for one in given]
            findings.append(reduce(Finding.with_other, found))
            if progress is not None:
                progress(done)
    first = next(iter(model.parameters()), torch.zeros(()))
    return Examination(
        type(model).__name__,
        str(first.dtype).removeprefix("torch."),
        str(first.device),
        sites,
        findings,
        lens.notes,
        {package: _version(package) for package in ("regard", "torch", "transformers")},
        time.perf_counter() - begun,
    )


def _checked(name: str, model: nn.Module, lens: Lens, x: Mapping[str, Any]) -> Finding:
    module = import_module(f"{checks.__name__}.{name}")
    check: Check = module.check
    try:
        return check(model, lens, x)
    except Exception as error:
        return _broken(module.NAME, error)


def _broken(name: str, error: Exception) -> Finding:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
    return Finding(name, "failed", None, f"{type(error).__name__}: {line}")


def _sites(model: nn.Module, given: Iterable[Mapping[str, Any]]) -> list[Sites]:
    seen: Counter[tuple[str, str, str]] = Counter()
    known = set()

    def see(call: Call) -> Tensor | None:
        if call.site not in known:
            known.add(call.site)
            seen[(call.site.part, call.site.role, call.site.tier)] += 1
        return None

    for x in given:
        watch(model, x, see)
    if not seen:
        raise Deaf(f"{type(model).__name__} made no call of attention that can be seen")
    return [Sites(*key, count) for key, count in seen.items()]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
