"""Calls of `scaled_dot_product_attention` read as attention: diffusers, timm and most models that people write themselves."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..core.mask import Mask
from ..core.operands import Operands
from .reading import Reader, Reading
from .refuse import Refusal
from .shapes import fold, heads_of

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
    if query.is_nested or key.is_nested:
        raise Refusal(
            f"{type(module).__name__} attends over nested tensors, which have no rectangle of queries and keys: pad its input "
            "instead"
        )
    if query.ndim < 3:
        return None
    heads = heads_of(module, query)
    q, k, v = (fold(tensor, heads) for tensor in (query, key, value))
    k, v = (tensor.expand(q.shape[0], -1, -1, -1) for tensor in (k, v))
    mask = Mask(q.shape[0], q.shape[2], k.shape[2], q.device, causal=is_causal)
    if attn_mask is not None:
        table = _table(attn_mask, query, heads)
        same = table.stride(2) == 0 or table.shape[2] == 1
        if same and table.shape[1] == 1 and table.dtype == torch.bool:  # padding, as one row for all queries
            mask = replace(mask, keys=table[:, 0, 0])
        else:
            mask = replace(mask, table=table)
    scale = query.shape[-1] ** -0.5 if scale is None else float(scale)
    op = Operands(q, k, v, mask, scale, dropout=dropout_p)
    shape = (*query.shape[:-1], value.shape[-1])
    return Reading(op, "sdpa", GIVES, lambda out: fold(out, heads), lambda out: out.reshape(shape))


def _table(mask: Tensor, query: Tensor, heads: int) -> Tensor:
    """View a mask that broadcasts to [..., head, query, key] as [batch or 1, head or 1, query, key]."""
    n = mask.shape[-1]
    if query.ndim == 4:
        while mask.ndim < 4:
            mask = mask[None]
        return mask.expand(-1, -1, query.shape[-2], -1)
    return fold(mask.expand(*query.shape[:-1], n), heads)


READERS: dict[Any, Reader] = {torch.nn.functional.scaled_dot_product_attention: read}
