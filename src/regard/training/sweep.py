"""Many trainings that do not depend on each other, on this machine or on Ray, each kept as soon as it is done."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from .cache import cached
from .cluster import spread
from .history import EVALUATION, History, reached
from .recipe import Recipe

Progress = Callable[[int, int], None]


def sweep(recipes: Sequence[Recipe], *, progress: Progress | None = None, on_ray: bool = False) -> list[History]:
    """Train all recipes that are not in the cache, and return the history of each, in their order.

    A sweep that is killed goes on where it stopped, and runs in the middle go on from their checkpoints. `progress` gets the
    number of runs done and of all. With `on_ray` each run is a task of its own, as `cluster.spread` has them. Raises ImportError
    where ray is missing, and what `fit` raises.
    """
    if on_ray:
        return _on_ray(recipes, progress)
    found = []
    for done, recipe in enumerate(recipes, 1):
        found.append(history(cached(recipe)))
        if progress is not None:
            progress(done, len(recipes))
    return found


def history(folder: Path) -> History:
    """Return the history that a trained model's folder has; why it ended is that of its recipe's target."""
    rows = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    target = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))["fields"]["target"]
    evaluation = {name: rows[-1].get(f"{EVALUATION}{name}") for name in target}
    return History(rows, "target" if reached(evaluation, list(target.items())) else "steps")


def _on_ray(recipes: Sequence[Recipe], progress: Progress | None) -> list[History]:
    found: dict[int, History] = {}
    for index, one in spread(_history, recipes):
        if isinstance(one, Exception):
            raise one
        found[index] = one
        if progress is not None:
            progress(len(found), len(recipes))
    return [found[index] for index in range(len(recipes))]


def _history(recipe: Recipe) -> History:
    return history(cached(recipe))
