"""torch.compile, set aside while somebody listens: a compiled graph runs no hooks, and its attention cannot be seen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .shared import Shared

NOTE = "compiled parts of the model run uncompiled while regard listens: they are slower, and outputs may differ by rounding"


def _set_aside() -> Callable[[], None]:
    stance = torch.compiler.set_stance("force_eager")
    return lambda: stance.__exit__(None, None, None)


uncompiled = Shared(_set_aside).wanted


@contextmanager
def as_before() -> Iterator[None]:
    """Let what a library compiles for itself, as flex attention, be compiled again."""
    with torch.compiler.set_stance("default"):
        yield


def compiled(model: nn.Module) -> bool:
    """Say whether a module of a model was compiled, in place or in a wrapper."""
    return any(
        getattr(module, "_compiled_call_impl", None) is not None or type(module).__name__ == "OptimizedModule"
        for module in model.modules()
    )
