"""A model with everything that a checkpoint must keep, a recipe of it, and runs that are killed; imported by processes, too."""

import multiprocessing
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regard.training import AdamW, Checkpoints, Evaluation, History, Recipe, checkpoint, fit

# torch's optimisers import torch._dynamo when first used, which takes longer than any run here.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["regard.training", "safetensors.torch", "torch._dynamo"])
STEPS = 12
OPTIMISER = AdamW(lr=0.05, warmup=3)


class Toy(nn.Module):
    """Tied weights, dropout, buffers, vectors and a frozen matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 8)
        self.frozen = nn.Linear(8, 8).requires_grad_(False)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.2)
        self.out = nn.Linear(8, 11)
        self.out.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.out(self.drop(self.norm(self.frozen(self.embed(ids)))))


def toy() -> Toy:
    torch.manual_seed(0)
    return Toy()


def batch(step: int) -> dict[str, Tensor]:
    """Return ids [token], and what follows each of them."""
    ids = torch.randint(0, 11, (16,), generator=torch.Generator().manual_seed(step))
    return {"ids": ids, "next": (ids * 3 + 1) % 11}


def loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    return nn.functional.cross_entropy(model(batch["ids"]), batch["next"])


def metrics(model: nn.Module) -> dict[str, float]:
    """Return accuracy and a random number, which must not move the run."""
    ids = torch.arange(11)
    return {
        "accuracy": (model(ids).argmax(-1) == (ids * 3 + 1) % 11).float().mean().item(),
        "drawn": torch.rand(()).item(),
    }


def run(model: nn.Module, folder: Path | None, every: int = 3, **options: Any) -> History:
    options = {"evaluation": Evaluation(metrics, every=4), "row_every": 2, "optimiser": OPTIMISER} | options
    checkpoints = None if folder is None else Checkpoints(folder, every=every)
    return fit(model, batch, options.pop("steps", STEPS), loss=loss, checkpoints=checkpoints, **options)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run_and_die(folder: Path, place: str) -> None:
    """Train, and be killed at a place of the second or third checkpoint."""
    torch.set_num_threads(1)
    if place == "between":
        run(toy(), folder, callbacks=[lambda step, *_: die() if step == 8 else None])
    write, rename = checkpoint._whole, os.replace

    def half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if next(folder.glob("step-*6"), None) and next(folder.glob(".draft-*"), None):
            draft = next(folder.glob(".draft-*"))
            if place == "half a file":
                (draft / "model.safetensors").write_bytes(b"\0" * 100)
                die()
            if place == "one of two files" and (draft / "model.safetensors").exists():
                die()
        return write(tensors)

    def late(old: Path, new: Path) -> None:
        if place == "before the rename" and new.name.endswith("9"):
            die()
        rename(old, new)
        if place == "after the rename" and new.name.endswith("9"):
            die()

    checkpoint._whole = half
    checkpoint.os.replace = late
    run(toy(), folder)


@dataclass(frozen=True, kw_only=True)
class ToyRecipe(Recipe):
    """Says in a file of `log` each time that it makes a model to train."""

    name = "toy"
    about = "A toy."
    corpus = "Numbers."

    steps: int = STEPS
    optimiser: AdamW = OPTIMISER
    evaluate_every: int = 4
    checkpoint_every: int = 3
    factor: int = 3
    log: str = ""

    def model(self) -> nn.Module:
        if self.log:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write("made\n")
        return Toy()

    def batch(self, step: int) -> Mapping[str, Tensor]:
        made = batch(step)
        return {"ids": made["ids"], "next": (made["ids"] * self.factor + 1) % 11}

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        return loss(model, batch)

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        return metrics(model)

    def save(self, model: Any, folder: Path) -> None:
        from safetensors.torch import save_model

        save_model(model, str(folder / "model.safetensors"))

    def load(self, folder: str | Path) -> Any:
        from safetensors.torch import load_model

        model = Toy()
        load_model(model, str(Path(folder) / "model.safetensors"))
        return model
