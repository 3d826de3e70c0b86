"""Every model class of the installed diffusers, small and with random weights."""

import inspect
from functools import cache
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

import torch
from torch import nn

from .diffusers_cases import CASES, NO_ATTENTION, SMALL, As, Case, Full, Ids, Values
from .diffusers_special import SPECIAL
from .family import Built
from .randomise import randomise

__all__ = ["NO_ATTENTION", "build", "families"]


def families() -> list[str]:
    """Return the names of the model classes in `diffusers.models`."""
    return sorted(_classes())


def build(name: str) -> Built:
    """Return a small random instance of a class, with inputs; raises ValueError for a class without a case."""
    model = _made(name).eval().float()
    randomise(model)
    draw = torch.Generator().manual_seed(1)
    x = {key: _given(value, draw) for key, value in CASES[name].x.items()}
    special = SPECIAL.get(name)
    return Built(model, x if special is None else x | special.x(model))


def _made(name: str) -> nn.Module:
    if name not in CASES:
        raise ValueError(f"breadth/diffusers_cases.py has no case for {name}")
    torch.manual_seed(0)
    special = SPECIAL.get(name)
    if special is not None and special.make is not None:
        return special.make(_small)
    return _small(name)


def _small(name: str) -> nn.Module:
    kind = _classes()[name]
    model: nn.Module = kind(**_config(kind, CASES[name]))
    return model


@cache
def _classes() -> dict[str, Any]:
    import diffusers.models
    from diffusers import ModelMixin

    found = {}
    for module in walk_packages(diffusers.models.__path__, "diffusers.models."):
        for name, kind in vars(import_module(module.name)).items():
            if inspect.isclass(kind) and issubclass(kind, ModelMixin) and kind.__module__ == module.name:
                found[name] = kind
    return {name: kind for name, kind in found.items() if name not in ("ModelMixin", "LegacyModelMixin")}


def _config(kind: type[nn.Module], case: Case) -> dict[str, Any]:
    """Return a constructor's arguments: small values by name, and those of the case."""
    config: dict[str, Any] = {}
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        small, default = SMALL.get(name), parameter.default
        if small is None or default is None or parameter.default is parameter.empty:
            continue
        if isinstance(small, tuple) and isinstance(default, tuple | list):
            config[name] = type(default)(small[: len(default)])
        elif isinstance(small, int | float) and isinstance(default, int | float):
            config[name] = small
    return config | case.config


def _given(value: Any, draw: torch.Generator) -> Any:
    match value:
        case As(given):
            return given
        case Values(values):
            return torch.tensor(values)
        case Full(shape, number):
            return torch.full(shape, number)
        case Ids(shape, below):
            return torch.randint(below, shape, generator=draw)
        case tuple():
            return torch.randn(value, generator=draw)
        case list():
            return [_given(one, draw) for one in value]
        case dict():
            return {key: _given(one, draw) for key, one in value.items()}
    return value
