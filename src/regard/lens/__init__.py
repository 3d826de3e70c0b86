"""The public face: attach to a model, measure its attention, read rows of it, edit it."""

from .lens import Lens, attach
from .results import Measurement, Result, load

__all__ = ["Lens", "Measurement", "Result", "attach", "load"]
