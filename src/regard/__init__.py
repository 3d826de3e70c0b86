"""Measure and edit attention in transformers, exactly and without attention maps.

Public names are loaded when they are used, so that `import regard` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .edit import Redistribute, ScaleHeads, ZeroHeads
    from .lens import Lens, attach
    from .measure import Distance, Entropy, Mass, Received, SinkMass, SinkRate

__version__ = "0.1.0"

_HOMES = {
    "lens": ("Lens", "attach"),
    "measure": ("Distance", "Entropy", "Mass", "Received", "SinkMass", "SinkRate"),
    "edit": ("Redistribute", "ScaleHeads", "ZeroHeads"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Distance",
    "Entropy",
    "Lens",
    "Mass",
    "Received",
    "Redistribute",
    "ScaleHeads",
    "SinkMass",
    "SinkRate",
    "ZeroHeads",
    "attach",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'regard' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
