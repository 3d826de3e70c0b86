"""torch.nn.MultiheadAttention, whose function projects, attends and projects back in one call."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.mask import Mask
from ..core.operands import Operands
from .reading import Reader, Reading
from .refuse import Refusal
from .shared import Shared

GIVES = frozenset({"q", "k", "v", "scores", "weights", "lse"})
NOTE = (
    "torch's fast path of MultiheadAttention is off while regard listens: outputs may differ by rounding, and are not zero "
    "in the places of padding"
)


def read(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reading | None:
    """Read a call of `multi_head_attention_forward`; tensors come as [query, batch, channel], or without a batch."""
    return _read(*args, **kwargs)


def _read(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> Reading:
    given = {"bias_k": bias_k, "add_zero_attn": add_zero_attn or None, "static_k": static_k, "static_v": static_v}
    unknown = [name for name, value in given.items() if value is not None]
    if unknown:
        raise Refusal(
            f"a torch.nn.MultiheadAttention uses {unknown[0]}, which regard cannot follow: its keys are not the tokens; "
            "make the module without it, or exclude this model"
        )
    weights = (
        (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else _of(in_proj_weight).chunk(3)
    )
    biases = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)
    q, k, v = (
        _heads(F.linear(x, _of(weight), bias), num_heads)
        for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
    )
    # As in torch: the hint replaces the mask only where nothing else needs one.
    hinted = is_causal and key_padding_mask is None and not need_weights
    mask = Mask(q.shape[0], q.shape[2], k.shape[2], q.device, causal=hinted)
    if attn_mask is not None and not hinted:
        table = (
            attn_mask.view(1, 1, *attn_mask.shape) if attn_mask.ndim == 2 else attn_mask.unflatten(0, (-1, num_heads))
        )
        mask = replace(mask, table=~table if table.dtype == torch.bool else table)
    bias = None
    if key_padding_mask is not None:
        padding = key_padding_mask if key_padding_mask.ndim == 2 else key_padding_mask[None]
        if padding.dtype != torch.bool:
            bias = padding.masked_fill(padding.isneginf(), 0.0)[:, None, None]
            bias = bias if bool(bias.any()) else None
            padding = padding.isneginf()
        mask = replace(mask, keys=~padding)
    dropout = dropout_p if training else 0.0
    op = Operands(q, k, v, mask, q.shape[-1] ** -0.5, bias=bias, dropout=dropout)

    # The function gives what comes after the projection; the heads' outputs are attended again where an edit needs them.
    @cache
    def outputs() -> Tensor:
        table = None
        if not hinted and (attn_mask is not None or key_padding_mask is not None):
            parts = [part for part in (_added(mask, q.dtype), bias) if part is not None]
            table = sum(parts[1:], parts[0])
        return F.scaled_dot_product_attention(q, k, v, table, dropout, is_causal=hinted)

    def result(out: Tensor) -> tuple[Tensor, None]:
        joined = out.permute(2, 0, 1, 3).flatten(2)
        joined = joined if query.ndim == 3 else joined[:, 0]
        return F.linear(joined, out_proj_weight, out_proj_bias), None

    return Reading(op, "mha", GIVES, lambda host: outputs(), result)


def _of(weight: Tensor | None) -> Tensor:
    assert weight is not None
    return weight


def _heads(x: Tensor, heads: int) -> Tensor:
    """View [n, batch, head * dim] or [n, head * dim] as [batch, head, n, dim]."""
    x = x if x.ndim == 3 else x[:, None]
    return x.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)


def _added(mask: Mask, dtype: torch.dtype) -> Tensor | None:
    """Return what a mask adds to the scores, broadcastable to [batch, head, query, key]."""
    everything = (0, mask.q_len), (0, mask.k_len)
    allowed, added = mask.allowed(*everything), mask.added(*everything)
    if allowed is None:
        return added
    zero = torch.zeros((), dtype=dtype, device=mask.device) if added is None else added
    return torch.where(allowed, zero, float("-inf"))


def _slow_down() -> Callable[[], None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    return lambda: torch.backends.mha.set_fastpath_enabled(before)


_slow_path = Shared(_slow_down)


@contextmanager
def slow_path(model: nn.Module) -> Iterator[bool]:
    """Keep torch from attending where no function is called, if the model has such modules; yields whether that changes it."""
    kinds = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerEncoder)
    if not any(isinstance(module, kinds) for module in model.modules()):
        yield False
        return
    changes = torch.backends.mha.get_fastpath_enabled()
    with _slow_path.wanted():
        yield changes


READERS: dict[Any, Reader] = {F.multi_head_attention_forward: read}
