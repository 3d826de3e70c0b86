"""Results in a file: tensors as safetensors, with all else as JSON in its header."""

import json
import os
from os import PathLike
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

FORMAT = 1


def write(path: str | PathLike[str], tensors: dict[str, Tensor], told: dict[str, Any]) -> None:
    """Write a file that is whole or not there; raises OSError with the path where it cannot be written."""
    header = {"regard": json.dumps({"format": FORMAT, **told})}
    whole = safetensors.torch.save({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, header)
    target = Path(path).resolve()
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(whole)
        os.replace(draft, target)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)


def read(path: str | PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `write` wrote; raises OSError for no file, ValueError for another one."""
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        with safetensors.safe_open(path, "pt") as file:
            header = (file.metadata() or {}).get("regard")
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names} if header else {}
    except safetensors.SafetensorError as error:
        raise ValueError(f"cannot read {path}: it is no whole safetensors file ({error})") from error
    if header is None:
        raise ValueError(f"cannot read {path}: it is a safetensors file, but none that regard saved")
    told: dict[str, Any] = json.loads(header)
    if told["format"] != FORMAT:
        raise ValueError(
            f"cannot read {path}: it has format {told['format']}, and this version of regard reads format {FORMAT}"
        )
    return tensors, told
