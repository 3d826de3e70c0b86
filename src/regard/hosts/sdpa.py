"""Calls of `scaled_dot_product_attention` read as attention: diffusers, timm and most models that people write themselves."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core.mask import Mask
from ..core.operands import Operands
from .reading import Reader, Reading

GIVES = frozenset({"q", "k", "v", "scores", "weights", "lse"})


def read(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reading | None:
    """Read a call; leading axes before the head are folded into the batch."""
    return _read(module, *args, **kwargs)


def _read(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Reading | None:
    if query.is_nested or query.ndim < 3:
        return None
    heads = _heads(module, query)
    q, k, v = (_fold(tensor, heads) for tensor in (query, key, value))
    k, v = (tensor.expand(q.shape[0], -1, -1, -1) for tensor in (k, v))
    mask = Mask(q.shape[0], q.shape[2], k.shape[2], q.device, causal=is_causal)
    if attn_mask is not None:
        mask = replace(mask, table=_table(attn_mask, query, heads))
    op = Operands(q, k, v, mask, query.shape[-1] ** -0.5 if scale is None else float(scale))
    shape = (*query.shape[:-1], value.shape[-1])
    return Reading(op, "sdpa", GIVES, lambda out: _fold(out, heads), lambda out: out.reshape(shape))


def _heads(module: nn.Module, query: Tensor) -> int:
    """Return how many heads a tensor [batch * head, query, dim] holds, as far as its module says; 1 otherwise."""
    if query.ndim > 3:
        return int(query.shape[-3])
    for name in ("num_heads", "heads", "n_heads", "num_attention_heads", "n_head"):
        heads = getattr(module, name, None)
        if isinstance(heads, int) and heads > 0 and query.shape[0] % heads == 0:
            return heads
    return 1


def _fold(tensor: Tensor, heads: int) -> Tensor:
    """View [..., head, n, dim] or [batch * head, n, dim] as [batch, head, n, dim]."""
    if tensor.ndim == 4:
        return tensor
    if tensor.ndim == 3:
        return tensor.unflatten(0, (-1, heads))
    return tensor.flatten(0, -4)


def _table(mask: Tensor, query: Tensor, heads: int) -> Tensor:
    """View a mask that broadcasts to [..., head, query, key] as [batch or 1, head or 1, query, key]."""
    n = mask.shape[-1]
    if query.ndim == 4:
        while mask.ndim < 4:
            mask = mask[None]
        return mask.expand(-1, -1, query.shape[-2], -1)
    return _fold(mask.expand(*query.shape[:-1], n), heads)


READERS: dict[Any, Reader] = {torch.nn.functional.scaled_dot_product_attention: read}
