"""What a model returns, as a flat list of tensors."""

from dataclasses import is_dataclass
from typing import Any

from torch import Tensor

_RECORDED = ("attentions", "hidden_states", "past_key_values")


def tensors(output: Any) -> list[Tensor]:
    """Return the tensors of an output, also those in lists inside it, but for what a library records on the way there."""
    if isinstance(output, Tensor):
        return [output.clone()]
    if isinstance(output, dict):
        output = [value for name, value in output.items() if isinstance(value, Tensor) or not name.endswith(_RECORDED)]
    if is_dataclass(output):
        return tensors(vars(output))
    return [tensor for value in output for tensor in tensors(value)] if isinstance(output, tuple | list) else []
