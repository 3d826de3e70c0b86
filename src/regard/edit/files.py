"""Edits as files: JSON, with tensors in a safetensors file beside it."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from torch import Tensor

from .base import BaseEdit

SCHEMA = "regard.edits/1"
_INFINITE = {"inf": float("inf"), "-inf": float("-inf")}
_TENSORS = ".safetensors"


def kinds() -> dict[str, type[BaseEdit]]:
    """Return all kinds of edits by name; those of this package are imported, what others add is there once they are."""
    package = import_module(__package__ or "regard.edit")
    for module in iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")
    return BaseEdit.kinds


def to_json(edits: Sequence[BaseEdit]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return edits as JSON values, and the tensors that these name."""
    tensors: dict[str, Tensor] = {}
    listed = []
    for place, edit in enumerate(edits):
        values: dict[str, Any] = {"edit": type(edit).__name__}
        for field in fields(edit):
            value = getattr(edit, field.name)
            if isinstance(value, Tensor):
                name = f"{place}.{field.name}"
                tensors[name] = value.detach().cpu().contiguous().clone()  # two edits may share one
                values[field.name] = {"tensor": name}
            elif field.init and value != field.default:
                values[field.name] = _plain(value)
        listed.append(values)
    return {"schema": SCHEMA, "edits": listed}, tensors


def from_json(values: Any, tensors: Mapping[str, Tensor] | None = None) -> list[BaseEdit]:
    """Return the edits that `to_json` wrote.

    Raises ValueError for another schema, an edit or a field that is not known, and a field or a tensor that is missing.
    """
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        found = values.get("schema") if isinstance(values, dict) else values
        raise ValueError(f"expected edits of the schema {SCHEMA}, found {found!r}")
    listed = values.get("edits")
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise ValueError(f"expected a list of edits, found {listed!r}")
    return [_edit(entry, tensors or {}) for entry in listed]


def save_edits(edits: Sequence[BaseEdit], path: str | Path) -> None:
    """Write edits to a JSON file, and their tensors, if there are any, to a .safetensors file beside it.

    Raises ValueError for a number that is none, and for a path that would be that of the tensors.
    """
    path = Path(path)
    if path.suffix == _TENSORS:
        raise ValueError(f"edits go to a JSON file, and {path.name} is the name of the tensors beside it")
    values, tensors = to_json(edits)
    packed = b""
    if tensors:
        from safetensors.torch import save as pack

        packed = pack(tensors)
        values["tensors"] = sha256(packed).hexdigest()
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    if tensors:
        _write(path.with_suffix(_TENSORS), packed)
    _write(path, text.encode())


def load_edits(path: str | Path) -> list[BaseEdit]:
    """Read edits that `save_edits` wrote.

    Raises ValueError for a file that is none, is only half there, or misses its tensors.
    """
    path = Path(path)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        expected = values.get("tensors") if isinstance(values, dict) else None
        return from_json(values, _tensors(path.with_suffix(_TENSORS), expected) if expected else {})
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read edits from {path}: it is no whole JSON file ({error})") from error
    except ValueError as error:
        raise ValueError(f"cannot read edits from {path}: {error}") from error


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(content)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _tensors(path: Path, expected: Any) -> dict[str, Tensor]:
    """Read the tensors with a given SHA-256 digest."""
    from safetensors.torch import load as unpack

    if not path.exists():
        raise ValueError(f"its tensors are missing: they belong in {path.name} beside it")
    packed = path.read_bytes()
    if sha256(packed).hexdigest() != expected:
        raise ValueError(f"{path.name} beside it is not whole, or holds the tensors of other edits")
    return unpack(packed)


def _edit(entry: dict[str, Any], tensors: Mapping[str, Tensor]) -> BaseEdit:
    given = dict(entry)
    kind = kinds().get(given.pop("edit", None))
    if kind is None:
        raise ValueError(f"there is no edit {entry.get('edit')!r}; there are {', '.join(sorted(kinds()))}")
    unknown = sorted(given.keys() - {field.name for field in fields(kind) if field.init})
    if unknown:
        raise ValueError(f"{kind.__name__} has no field {unknown[0]!r}")
    try:
        return kind(**{name: _value(value, tensors) for name, value in given.items()})
    except (TypeError, AttributeError) as error:
        raise ValueError(
            f"{kind.__name__} cannot be made of {', '.join(sorted(given)) or 'nothing'}: {error}"
        ) from error


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, float) and value in _INFINITE.values():
        return {"number": str(value)}
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value


def _value(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    match value:
        case {"tensor": str(name)}:
            if name not in tensors:
                raise ValueError(f"the tensor {name!r} is missing")
            return tensors[name]
        case {"number": str(name)}:
            if name not in _INFINITE:
                raise ValueError(f"{name!r} is no number")
            return _INFINITE[name]
        case dict():
            return {name: _value(one, tensors) for name, one in value.items()}
        case list():
            return tuple(_value(one, tensors) for one in value)
    return value
