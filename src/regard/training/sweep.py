"""Many trainings that do not depend on each other, on this machine or on Ray, each kept as soon as it is done."""

import json
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from .cache import cached
from .history import EVALUATION, History
from .recipe import Recipe

Progress = Callable[[int, int], None]


def sweep(recipes: Sequence[Recipe], *, progress: Progress | None = None, on_ray: bool = False) -> list[History]:
    """Train all recipes that are not in the cache, and return the history of each, in their order.

    A sweep that is killed goes on where it stopped, and runs in the middle go on from their checkpoints. `progress` gets the
    number of runs done and of all. With `on_ray` each run is a task of one CPU; the cache has to be a folder that all machines
    see (`XDG_CACHE_HOME`), and what `ray.init` made is used, or a local cluster. Raises ImportError where ray is missing, and
    what `fit` raises.
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
    last = rows[-1]
    reached = target and all((last.get(f"{EVALUATION}{name}") or 0) >= least for name, least in target.items())
    return History(rows, "target" if reached else "steps")


def _on_ray(recipes: Sequence[Recipe], progress: Progress | None) -> list[History]:
    try:
        ray: Any = import_module("ray")
    except ImportError as error:
        raise ImportError('a sweep over machines needs ray: pip install "regard[ray]"') from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    cache = {name: os.environ[name] for name in ("XDG_CACHE_HOME",) if name in os.environ}
    train = ray.remote(num_cpus=1, runtime_env={"env_vars": cache | {"OMP_NUM_THREADS": "1"}})(_history)
    tasks = [train.remote(recipe) for recipe in recipes]
    waiting, done = list(tasks), 0
    while waiting:
        ready, waiting = ray.wait(waiting)
        done += len(ready)
        if progress is not None:
            progress(done, len(recipes))
    histories: list[History] = ray.get(tasks)
    return histories


def _history(recipe: Recipe) -> History:
    return history(cached(recipe))
