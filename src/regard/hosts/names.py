"""What a module of a model is called: its path, the part of the model that it stands in, and its layer."""

import re
from dataclasses import dataclass

from torch import nn

_CROSS = re.compile(
    r"(^|\.)(cross_?attn\w*|cross_?attention\w*|encoder_attn|encdecattention|encoder_attention|attn2)(\.|$)"
)
_PARTS = (
    ("vision", re.compile(r"vision|visual|image_encoder|image_tower")),
    ("audio", re.compile(r"audio|speech")),
)


@dataclass(frozen=True)
class Name:
    """A module's path, part and layer; `layer` is None where neither the module nor its path says one."""

    path: str
    part: str
    layer: int | None
    cross: bool


class Names:
    """Names of all modules of a model; parts are vision, audio, encoder and decoder, or `main` where there is only one."""

    def __init__(self, model: nn.Module) -> None:
        pair = _is_pair(model)
        self._names: dict[nn.Module, Name] = {
            module: Name(path, _part(path, pair), _layer(module, path), bool(_CROSS.search(path.lower())))
            for path, module in model.named_modules()
        }
        parts = {name.part for name in self._names.values() if name.path}
        self._main = parts if len(parts) == 1 else {"main", "decoder"}

    def __contains__(self, module: nn.Module) -> bool:
        return module in self._names

    def __getitem__(self, module: nn.Module) -> Name:
        return self._names[module]

    def is_main(self, part: str) -> bool:
        """Say whether a part is the one that is meant where none is named: the one that writes the output."""
        return part in self._main


def _is_pair(model: nn.Module) -> bool:
    """Say whether a model is an encoder and a decoder."""
    return bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))


def _part(path: str, pair: bool) -> str:
    lowered = path.lower()
    for part, pattern in _PARTS:
        if pattern.search(lowered):
            return part
    if pair:
        pieces = lowered.split(".")
        for part in ("decoder", "encoder"):
            if any(piece == part or piece.endswith(f"_{part}") for piece in pieces):
                return part
    return "main"


def _layer(module: nn.Module, path: str) -> int | None:
    own = getattr(module, "layer_idx", None)
    if isinstance(own, int):
        return own
    numbers = [piece for piece in path.split(".") if piece.isdigit()]
    return int(numbers[0]) if len(numbers) == 1 else None
