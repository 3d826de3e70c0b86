"""Models that no tier can follow are refused before anything is changed, each with what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from weakref import WeakSet

from torch import nn


class Refusal(ValueError):
    """What cannot be followed, and what to do instead."""


_listened: "WeakSet[nn.Module]" = WeakSet()
_lock = Lock()


def changed(module: nn.Module) -> Refusal:
    """Say that a module took another's place too late."""
    return Refusal(
        f"a {type(module).__name__} came into the model, or left it, while a lens listened, which may have missed its attention: "
        "change modules between the lens's contexts"
    )


@contextmanager
def alone(model: nn.Module) -> Iterator[None]:
    """Listen to a model alone; raises ValueError if another lens listens to a module of it."""
    modules = list(model.modules())
    with _lock:
        taken = [module for module in modules if module in _listened]
        if taken:
            raise Refusal(
                f"another lens listens to {type(taken[0]).__name__} already, and each would see what the other changes: use "
                "one lens for one model, or leave the other's context first"
            )
        _listened.update(modules)
    try:
        yield
    finally:
        with _lock:
            _listened.difference_update(modules)
