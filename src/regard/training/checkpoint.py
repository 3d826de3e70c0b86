"""Where a training run stands, in a folder, so that it goes on after it was killed."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

from .history import History

SCHEMA = "regard.checkpoint/1"
_STEP = "step-"
_DRAFT = ".draft-"


@dataclass(frozen=True)
class Checkpoints:
    """A folder that keeps the newest checkpoint of one run, written every so many steps and at the end."""

    folder: str | Path
    every: int

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"expected a checkpoint every 1 step or more, found {self.every}")

    @contextmanager
    def open(self) -> Iterator[Path]:
        """Keep other processes out of the folder, and give it, without what a killed run left half written.

        Raises OSError if another process trains in it.
        """
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / ".lock", timeout=0):
                for draft in folder.glob(f"{_DRAFT}*"):
                    shutil.rmtree(draft)
                yield folder
        except Timeout as error:
            raise OSError(f"another process trains in {folder}") from error


def newest(folder: Path) -> Path | None:
    """Return the newest checkpoint in a folder, None if there is none."""
    return max(folder.glob(f"{_STEP}*"), key=lambda path: int(path.name.removeprefix(_STEP)), default=None)


def save(
    folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, history: History, settings: Mapping[str, Any]
) -> None:
    """Write a checkpoint of the step that the history ends with, and remove those before it.

    A checkpoint is a folder of its own, written under another name and renamed: it is there whole or not at all.
    """
    from safetensors.torch import save_file

    draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=folder))
    save_file(_whole(model.state_dict()), draft / "model.safetensors")
    save_file(_whole(_moments(model, optimiser)), draft / "optimiser.safetensors")
    state = {"schema": SCHEMA, "settings": settings, **asdict(history)}
    (draft / "state.json").write_text(json.dumps(state, indent=1, allow_nan=False), encoding="utf-8")
    for path in (*draft.iterdir(), draft):
        _flush(path)
    target = folder / f"{_STEP}{history.steps:09d}"
    os.replace(draft, target)
    _flush(folder)
    for path in folder.glob(f"{_STEP}*"):
        if path != target:
            shutil.rmtree(path)


def load(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, settings: Mapping[str, Any]) -> History:
    """Give a model and its optimiser the state of a checkpoint, and return the history up to it.

    Raises ValueError if the checkpoint is of a run with other settings, of another model, or not readable.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        weights = load_file(path / "model.safetensors")
        moments = load_file(path / "optimiser.safetensors")
        if state["schema"] != SCHEMA:
            raise ValueError(f"its schema is {state['schema']}, expected {SCHEMA}")
        history = History(state["rows"], state["ended"])
        before = state["settings"]
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"cannot read the checkpoint {path}: {error}") from error
    now = json.loads(json.dumps(settings))
    other = [f"{name} {before.get(name)!r}, now {now.get(name)!r}" for name in now if before.get(name) != now.get(name)]
    if other:
        raise ValueError(f"the checkpoint {path} is of another run: {'; '.join(other)}")
    own = model.state_dict()
    if {name: value.shape for name, value in weights.items()} != {name: value.shape for name, value in own.items()}:
        raise ValueError(f"the checkpoint {path} is of another model: its weights have other names or shapes")
    with torch.no_grad():
        for name, value in own.items():
            value.copy_(weights[name])
    _give_moments(model, optimiser, moments)
    return history


def _moments(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}/{key}": value for parameter, kept in optimiser.state.items() for key, value in kept.items()
    }


def _give_moments(model: nn.Module, optimiser: torch.optim.Optimizer, moments: Mapping[str, Tensor]) -> None:
    kept: dict[str, dict[str, Tensor]] = {}
    for name, value in moments.items():
        parameter, _, key = name.rpartition("/")
        kept.setdefault(parameter, {})[key] = value
    names = {parameter: name for name, parameter in model.named_parameters()}
    # torch numbers parameters in the order of its groups.
    order = [names[parameter] for group in optimiser.param_groups for parameter in group["params"]]
    state = {number: kept[name] for number, name in enumerate(order) if name in kept}
    optimiser.load_state_dict(optimiser.state_dict() | {"state": state})


def _whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU that share no memory."""
    return {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}


def _flush(path: Path) -> None:
    """Have a file or a folder on the disk, so that a rename is not there before what it renames."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
