"""From a recipe to the folder of a trained model."""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor, nn

from . import card, recipes
from .checkpoint import Checkpoints
from .loop import Callback, Evaluation, fit
from .recipe import Recipe

Progress = Callable[[int, int], None]


def train(
    name: str,
    out: str | Path,
    steps: int | None = None,
    progress: Progress | None = None,
    device: str | torch.device = "cpu",
) -> Path:
    """Train a recipe of `training.recipes` by its name into the folder `out`, and return this.

    `steps` takes the place of the recipe's number of steps: its schedule is over these, with five checkpoints at least.
    `progress` gets the number of steps done and of all steps. Otherwise as `build`; raises ValueError for a name that no
    recipe has.
    """
    recipe = recipes.named(name)
    if steps is not None:
        recipe = replace(recipe, steps=steps, checkpoint_every=min(recipe.checkpoint_every, max(steps // 5, 1)))
    return build(recipe, out, progress=progress, device=device)


def build(
    recipe: Recipe,
    folder: str | Path,
    *,
    progress: Progress | None = None,
    device: str | torch.device = "cpu",
    callbacks: Sequence[Callback] = (),
) -> Path:
    """Train a recipe's model into a folder, whole or not at all, and return the folder; at once if it is there.

    The folder has what the recipe saves, a model card, `recipe.json` and `history.json`. While it is being trained, its
    checkpoints lie beside it, and a run that was killed goes on from them; a second process waits for the first.

    Raises FileExistsError if the folder holds anything else, and what `fit` raises.
    """
    folder = Path(folder).resolve()
    beside = folder.with_name(f".{folder.name}.{recipe.key}")
    if _there(recipe, folder):
        return folder
    beside.parent.mkdir(parents=True, exist_ok=True)
    lock = beside.with_name(f"{beside.name}.lock")
    with FileLock(lock):
        if not _there(recipe, folder):  # it may have been trained while this process waited
            _build(recipe, folder, beside, progress, device, callbacks)
        shutil.rmtree(beside, ignore_errors=True)
        lock.unlink(missing_ok=True)  # whoever gets a lock of this name from now on finds the folder
    return folder


def _build(
    recipe: Recipe,
    folder: Path,
    beside: Path,
    progress: Progress | None,
    device: str | torch.device,
    callbacks: Sequence[Callback],
) -> None:
    def tell(step: int, model: nn.Module, loss: Tensor, lr: float) -> None:
        if progress is not None:
            progress(step, recipe.steps)

    with torch.random.fork_rng([]):
        torch.manual_seed(recipe.seed)
        model = recipe.model().to(device)
    history = fit(
        model,
        recipe.batch,
        recipe.steps,
        loss=recipe.loss,
        optimiser=recipe.optimiser,
        seed=recipe.seed,
        bf16=recipe.bf16,
        evaluation=Evaluation(recipe.evaluate, recipe.evaluate_every, recipe.target),
        checkpoints=Checkpoints(beside / "checkpoints", recipe.checkpoint_every),
        callbacks=[tell, *callbacks],
    )
    draft = beside / "model"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    recipe.save(model, draft)
    (draft / "README.md").write_text(card.text(recipe, model, history), encoding="utf-8")
    _write(draft / "history.json", history.rows)
    _write(draft / "recipe.json", recipe.to_json())
    os.replace(draft, folder)


def _there(recipe: Recipe, folder: Path) -> bool:
    """Whether the recipe's model is in the folder; raises FileExistsError if something else is."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise FileExistsError(f"{folder} is there already, and is no model that a recipe was trained into") from None
    if found != json.loads(json.dumps(recipe.to_json())):
        raise FileExistsError(f"{folder} holds a model of another recipe: remove it, or choose another folder")
    return True


def _write(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
