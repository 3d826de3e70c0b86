"""Models that no tier can follow are refused before anything is changed, each with what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

from torch import nn


class Refusal(ValueError):
    """What cannot be followed, and what to do instead."""


_listened: "WeakSet[nn.Module]" = WeakSet()


def refuse(model: nn.Module) -> None:
    """Raise ValueError for a model of which a module was compiled in place."""
    compiled = [
        path for path, module in model.named_modules() if getattr(module, "_compiled_call_impl", None) is not None
    ]
    if compiled:
        where = ", ".join(path or "the model itself" for path in compiled[:3])
        raise Refusal(
            f"{type(model).__name__} is compiled ({where}), and a compiled graph ignores what is changed later: attach to it "
            "before it is compiled"
        )


@contextmanager
def alone(model: nn.Module) -> Iterator[None]:
    """Listen to a model alone; raises ValueError if another lens listens to a module of it."""
    modules = list(model.modules())
    taken = [module for module in modules if module in _listened]
    if taken:
        raise Refusal(
            f"another lens listens to {type(taken[0]).__name__} already, and each would see what the other changes: use one "
            "lens for one model, or leave the other's context first"
        )
    _listened.update(modules)
    try:
        yield
    finally:
        _listened.difference_update(modules)
