"""Bench models that were trained before, kept in the user's cache by the key of their recipe."""

import os
from pathlib import Path
from typing import Any

import torch

from .build import Progress, build
from .recipe import Recipe


def cached(recipe: Recipe, *, progress: Progress | None = None, device: str | torch.device = "cpu") -> Path:
    """Return the folder of a recipe's trained model, trained now if it has not been before.

    Folders lie in `regard/models` of the user's cache, which is `$XDG_CACHE_HOME` or `~/.cache`, and may be removed at
    any time. Several processes may ask at once: one trains, the others wait.

    Raises OSError if the cache cannot be written, and what `fit` raises.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "regard" / "models"
    return build(recipe, base / f"{recipe.name}-{recipe.key}", progress=progress, device=device)


def trained_model(recipe: Recipe, device: str | torch.device = "cpu") -> Any:
    """Return a recipe's trained model on a device, ready to be evaluated; it comes from the cache, as `cached` has it."""
    return recipe.load(cached(recipe, device=device)).to(device).eval()
