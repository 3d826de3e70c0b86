"""Which keys of a diffusion transformer's joint attention are text and which are image, by family (diffusers 0.42)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.call import Call

Kind = Literal["text", "image"]
Arguments = Mapping[str, Any]


def _states(arguments: Arguments) -> int:
    return int(arguments["encoder_hidden_states"].shape[1])


def _hidream(arguments: Arguments) -> int:
    """Count T5's tokens and Llama's twice: its last layer stays, another layer joins at each block."""
    return int(arguments["encoder_hidden_states_t5"].shape[1] + 2 * arguments["encoder_hidden_states_llama3"].shape[-2])


@dataclass(frozen=True)
class Layout:
    """The order of joint attention: which kind comes first, how many registers stand before it, how many tokens are text.

    `text_only` and `image_only` match the paths of modules that attend over one kind alone.
    """

    first: Kind
    registers: int = 0
    text: Callable[[Arguments], int] = _states
    text_only: str | None = None
    image_only: str | None = None


_TEXT_FIRST = Layout("text")
LAYOUTS: dict[str, Layout] = {
    "AuraFlowTransformer2DModel": Layout("text", registers=8),
    "BriaFiboTransformer2DModel": _TEXT_FIRST,
    "BriaTransformer2DModel": _TEXT_FIRST,
    "ChromaTransformer2DModel": _TEXT_FIRST,
    "CogVideoXTransformer3DModel": _TEXT_FIRST,
    "CogView3PlusTransformer2DModel": _TEXT_FIRST,
    "CogView4Transformer2DModel": _TEXT_FIRST,
    "Flux2Transformer2DModel": _TEXT_FIRST,
    "FluxTransformer2DModel": _TEXT_FIRST,
    "HiDreamImageTransformer2DModel": Layout("image", text=_hidream),
    "HunyuanVideoTransformer3DModel": Layout("image", text_only=r"(^|\.)context_embedder\."),
    "MochiTransformer3DModel": Layout("image", text_only=r"(^|\.)time_embed\."),
    "QwenImageTransformer2DModel": _TEXT_FIRST,
    "SD3Transformer2DModel": Layout("image", image_only=r"\.attn2$"),
}
"""By class of the transformer."""


class JointSegments:
    """The segments `text` and `image` of one denoising step, from the number of its text tokens.

    Where a model drops padded text (Mochi), prompts have to be given without padding.
    """

    def __init__(self, layout: Layout, text: int) -> None:
        self._layout = layout
        self._text = text

    @classmethod
    def of(cls, model: object, arguments: Arguments) -> "JointSegments | None":
        """Return the segments of a forward pass of a known family, from its arguments by name; None for other models."""
        layout = LAYOUTS.get(type(model).__name__)
        return None if layout is None or not arguments else cls(layout, layout.text(arguments))

    def keys(self, name: str, call: Call) -> Tensor:
        """Return which keys of the call are of a kind, [batch, key] bool; raises KeyError for other names."""
        if name not in ("text", "image"):
            raise KeyError(f"no segment {name!r} at {call.site}; there are first, rest, all, text, image")
        kinds = torch.tensor(self._kinds(call), device=call.kpos.device)
        return (kinds == ("text", "image").index(name)).expand(call.op.batch, -1) & (call.kpos >= 0)

    def _kinds(self, call: Call) -> list[int]:
        """Return the kind of each key: 0 is text, 1 image, 2 a register."""
        n, layout = call.op.k_len, self._layout
        if _in(layout.text_only, call.site.path):
            return [0] * n
        if _in(layout.image_only, call.site.path):
            return [1] * n
        image = n - layout.registers - self._text
        if image <= 0:
            raise KeyError(f"{call.site} has {n} keys, too few for {self._text} of text and an image")
        joint = ([0] * self._text, [1] * image)
        first, second = joint if layout.first == "text" else joint[::-1]
        return [2] * layout.registers + first + second


def _in(pattern: str | None, path: str) -> bool:
    return pattern is not None and re.search(pattern, path) is not None
