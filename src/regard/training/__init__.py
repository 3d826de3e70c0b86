"""Training of small models: the loop, recipes, and a cache of what was trained."""

from .build import build, train
from .cache import cached, trained_model
from .checkpoint import Checkpoints
from .history import History
from .loop import Evaluation, fit
from .optimiser import AdamW
from .recipe import Recipe

__all__ = [
    "AdamW",
    "Checkpoints",
    "Evaluation",
    "History",
    "Recipe",
    "build",
    "cached",
    "fit",
    "train",
    "trained_model",
]
