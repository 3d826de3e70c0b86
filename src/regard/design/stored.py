"""A design beside its model's weights: what `design.json` holds, and how a model comes back with its designs."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

FILE = "design.json"
_KEPT = "attention_designs"
"""Attribute of a model: the designs that were put into it, in their order."""


class Design(Protocol):
    """A frozen dataclass of plain data that changes how a model attends; one design, and one class, per kind of change."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def put(self, model: nn.Module) -> object:
        """Put the design into a model, with new parameters where it has any, and `keep` it there."""


def keep(model: nn.Module, design: Design) -> None:
    """Note that a design was put into a model, so that `save` finds it."""
    setattr(model, _KEPT, [*designs(model), design])


def drop(model: nn.Module, kind: type) -> None:
    """Note that the designs of a kind were taken out of a model."""
    setattr(model, _KEPT, [design for design in designs(model) if not isinstance(design, kind)])


def designs(model: nn.Module) -> list[Design]:
    """Return the designs of a model, in the order in which they were put there."""
    return list(getattr(model, _KEPT, []))


def described(design: Design) -> dict[str, Any]:
    """Return a design as plain data: its class by its path, and its fields."""
    return {"kind": f"{type(design).__module__}.{type(design).__qualname__}", "settings": asdict(design)}


def made(description: Mapping[str, Any]) -> Design:
    """Return the design that `described` tells of; raises ValueError for what is no design of `regard.design`."""
    module, _, name = str(description["kind"]).rpartition(".")
    kind = getattr(import_module(module), name, None) if module.startswith("regard.design.") else None
    if not hasattr(kind, "put"):
        raise ValueError(f"{description['kind']!r} is no design of regard.design")
    design: Design = kind(**description["settings"])  # type: ignore[misc]
    return design


def save(model: Any, folder: str | Path) -> None:
    """Write a model as transformers does, and `design.json` with the designs that it has beside it."""
    model.save_pretrained(folder)
    describe(model, folder)


def describe(model: nn.Module, folder: str | Path) -> None:
    """Write `design.json` with the designs of a model into the folder that it is saved in."""
    text = json.dumps([described(design) for design in designs(model)], indent=1, allow_nan=False)
    (Path(folder) / FILE).write_text(text + "\n", encoding="utf-8")


def load(folder: str | Path, **options: Any) -> Any:
    """Return the model that `save` wrote, with its designs and what they have learnt; options are those of `from_pretrained`.

    Raises ValueError if the weights lack what the model or a design has learnt, or the configuration names no class of
    transformers.
    """
    import transformers

    folder = Path(folder)
    names = transformers.AutoConfig.from_pretrained(folder).architectures or [""]
    kind: Any = getattr(transformers, names[0], None)
    if kind is None:
        raise ValueError(f"the configuration in {folder} names {names[0]!r}, which is no class of transformers")
    with _silent():  # transformers would list what designs have learnt as unexpected
        model, found = kind.from_pretrained(folder, output_loading_info=True, **options)
    plain = set(model.state_dict())
    for description in json.loads((folder / FILE).read_text(encoding="utf-8")):
        made(description).put(model)
    if missing := sorted(found["missing_keys"] & set(model.state_dict())):  # a design may take modules away
        raise ValueError(f"the weights in {folder} lack {', '.join(missing)}")
    _fill(model, folder, set(model.state_dict()) - plain)
    return model


@contextmanager
def _silent() -> Iterator[None]:
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _fill(model: nn.Module, folder: Path, learnt: set[str]) -> None:
    """Load the parameters that designs have added."""
    from safetensors import safe_open

    found: dict[str, Tensor] = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as tensors:
            found |= {name: tensors.get_tensor(name) for name in learnt & set(tensors.keys())}
    if missing := sorted(learnt - set(found)):
        raise ValueError(f"the weights in {folder} lack {', '.join(missing)}, which {FILE} says that they have")
    model.load_state_dict(found, strict=False)
