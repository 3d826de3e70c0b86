"""Where the head axis of a tensor is that comes without saying so."""

from typing import Any

from torch import Tensor, nn

_NAMES = ("num_heads", "heads", "n_heads", "num_attention_heads", "n_head", "attention_heads", "nhead")


def told_heads(module: nn.Module) -> int | None:
    """Return how many heads a module, or its configuration, says that it has."""
    config: Any = getattr(module, "config", None)
    for owner in (module, config):
        for name in _NAMES:
            heads = getattr(owner, name, None)
            if isinstance(heads, int) and heads > 0:
                return heads
    return None


def heads_of(module: nn.Module, tensor: Tensor) -> int:
    """Return how many heads [..., head, n, dim] or [batch * head, n, dim] holds; 1 where nothing tells them from the batch."""
    if tensor.ndim > 3:
        return int(tensor.shape[-3])
    heads = told_heads(module)
    return heads if heads is not None and tensor.shape[0] % heads == 0 else 1


def fold(tensor: Tensor, heads: int) -> Tensor:
    """View [..., head, n, dim] or [batch * head, n, dim] as [batch, head, n, dim]."""
    if tensor.ndim == 4:
        return tensor
    if tensor.ndim == 3:
        return tensor.unflatten(0, (-1, heads))
    return tensor.flatten(0, -4)
