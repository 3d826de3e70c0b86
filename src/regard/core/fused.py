"""Terms answered by fused attention calls: facts 1 to 3 of the algebra, with neither the map nor a loop over its blocks.

Statistics are computed in the working dtype: from bfloat16 outputs they would be off in the third digit.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ..kernels import flash_cpu
from .mask import Mask
from .merge import merge
from .operands import Operands
from .scores import MASKED, beside, with_extra
from .terms import Attended


def supports(op: Operands) -> bool:
    """Say whether a fused kernel computes these weights exactly: plain mask, at most a key bias, no softcap, law or gradient."""
    plain = op.mask.plain and op.softcap is None and not op.laws
    biased = op.bias is not None and op.key_bias() is None
    return flash_cpu.supports(op.q) and plain and not biased and not op.needs_grad


def attend(op: Operands) -> tuple[Tensor, Tensor]:
    """Return output [batch, head, query, value_dim] and log-sum-exp [batch, head, query]; dropout is left out."""
    out, lse = _of_keys(op)
    return with_extra(op, out, lse).to(op.v.dtype), lse


def _of_keys(op: Operands) -> tuple[Tensor, Tensor]:
    """Return what the call's own keys give to the output, and the log-sum-exp over these and all that is beside them."""
    if op.bias is not None:
        op = _upcast(op)  # the kernel takes a bias in q's dtype only, which would round it
    width = max(op.q.shape[-1], op.v.shape[-1])
    out, lse = _attend(replace(op, q=_pad(op.q, width), k=_pad(op.k, width), v=_pad(op.v, width)))
    out = out[..., : op.v.shape[-1]]
    others = beside(op, (0, op.q_len))
    if others is None:
        return out, lse
    total = torch.logaddexp(lse, torch.logsumexp(others, -1))
    total = torch.where(total <= MASKED / 2, float("-inf"), total)
    share = torch.exp(lse - total.masked_fill(total.isneginf(), 0.0))
    return out * share[..., None], total


def row(op: Operands, f: Tensor) -> Tensor:
    """Return `sum_j A_ij f_jn` [batch, head, query, n], attending to f in the place of the values (fact 1)."""
    op = _upcast(op)
    f = f.to(op.work_dtype)
    f = f[None, None] if f.ndim == 2 else f[:, None] if f.ndim == 3 else f
    if f.shape[1] not in (1, op.k.shape[1]):
        op = _ungroup(op)
        f = f.repeat_interleave(op.heads // f.shape[1], 1)
    f = f.expand(op.batch, op.k.shape[1], -1, -1)
    return torch.cat([_of_keys(replace(op, v=part))[0] for part in f.split(op.q.shape[-1], dim=-1)], -1)


def score(op: Operands) -> Tensor:
    """Return `sum_j A_ij (S_ij - L_i)` [batch, head, query], from one call whose values are the keys (fact 2).

    Keys are counted from the first one: that shifts the scores of a row alike and leaves A as it is, and an offset that
    a row's scores share, as in sink heads, no longer cancels in the difference.
    """
    op = _ungroup(_upcast(op))
    origin = op.k[:, :, :1]
    values = op.k - origin
    extra = tuple(e._replace(k=e.k - origin) for e in op.extra)
    shifted = replace(op, k=values, extra=extra)
    sink = op.row_sink()
    if sink is not None:
        shifted = replace(shifted, sink=sink - op.scale * (op.q * origin).sum(-1))
    bias = op.key_bias()
    if bias is not None:
        column = bias.clamp_min(torch.finfo(values.dtype).min / 2).to(values.dtype).transpose(-1, -2)
        values = torch.cat([values, column.expand(*values.shape[:3], 1)], -1)
    ones = torch.ones_like(values[..., :1])
    out, lse = _of_keys(replace(shifted, v=torch.cat([values, ones], -1)))
    expected = op.scale * (op.q * out[..., : op.q.shape[-1]]).sum(-1)
    if bias is not None:
        expected = expected + out[..., -2]
    return torch.where(torch.isneginf(lse), 0.0, expected - out[..., -1] * lse)


def col(op: Operands, g: Tensor | None, lse: Tensor) -> Tensor:
    """Return `sum_i g_i A_ij` [batch, head, key], from one transposed call: keys ask, queries answer (fact 3).

    Shapes: g [batch, query] or [batch, head, query], of any sign; lse [batch, head, query], the call's own.
    """
    op = _ungroup(_upcast(op))
    mask = op.mask
    # Both sequences are flipped, which keeps a causal mask causal: key j is seen by the queries i >= j - offset.
    flipped = Mask(
        batch=mask.batch,
        q_len=op.k_len,
        k_len=op.q_len,
        device=mask.device,
        causal=mask.causal,
        offset=op.q_len - op.k_len + mask.offset,
    )
    g = torch.ones_like(lse) if g is None else (g if g.ndim == 3 else g[:, None]).to(lse.dtype)
    values = g.expand_as(lse).flip(2)[..., None]
    transposed = Operands(
        op.k.flip(2),
        op.q.flip(2),
        values,
        flipped,
        op.scale,
        bias=-lse.masked_fill(lse.isneginf(), float("inf")).flip(2)[:, :, None],
    )
    out, total = _of_keys(transposed)
    mean, total = out[..., 0].flip(2), total.flip(2)
    bias = op.key_bias()
    result = mean * torch.exp(total if bias is None else total + bias[:, :, 0])
    return result if mask.keys is None else result.masked_fill(~mask.keys_by_head, 0.0)


def _attend(op: Operands) -> tuple[Tensor, Tensor]:
    """Attend under a plain mask; the kernel knows only top-left causality, every other alignment is put together from it."""
    mask = op.mask
    if mask.causal and mask.offset < op.k_len - 1:
        if mask.offset > 0:
            past, present = op.narrow((0, mask.offset)), op.narrow((mask.offset, op.k_len))
            return merge(Attended(*_attend(past)), Attended(*_attend(present)))
        if mask.offset < 0:
            blind = min(-mask.offset, op.q_len)
            out = op.q.new_zeros(*op.q.shape[:3], op.v.shape[-1])
            lse = torch.full(op.q.shape[:3], float("-inf"), dtype=op.work_dtype, device=op.q.device)
            if blind < op.q_len:
                out[:, :, blind:], lse[:, :, blind:] = _attend(op.select(None, slice(blind, None)))
            return out, lse
        if op.k_len > op.q_len:
            op = op.narrow((0, op.q_len))  # no query sees the keys beyond
        out, lse = _kernel(op, causal=True)
    else:
        out, lse = _kernel(op, causal=False)
    bias = op.key_bias()
    dead = (op.mask if bias is None else op.mask.without(bias[:, :, 0].isneginf())).dead()
    return out, lse if dead is None else lse.masked_fill(dead, float("-inf"))  # the kernel returns 0 there


def _kernel(op: Operands, causal: bool) -> tuple[Tensor, Tensor]:
    added = op.key_bias()
    if op.mask.keys is not None:
        keys = op.mask.keys_by_head[:, :, None]
        added = torch.zeros_like(keys, dtype=op.q.dtype) if added is None else added
        added = added.masked_fill(~keys, float("-inf"))
    if added is not None:
        added = added.to(op.q.dtype)
    return flash_cpu.flash_cpu(op.q, op.k, op.v, causal=causal, added=added, scale=op.scale)


def _upcast(op: Operands) -> Operands:
    dtype = op.work_dtype
    return replace(op, q=op.q.to(dtype), k=op.k.to(dtype), v=op.v.to(dtype))


def _ungroup(op: Operands) -> Operands:
    """Give every query head its own keys."""

    def each(tensor: Tensor) -> Tensor:
        return tensor if tensor.shape[1] == op.heads else tensor.repeat_interleave(op.heads // tensor.shape[1], 1)

    extra = tuple(e._replace(k=each(e.k), v=each(e.v)) for e in op.extra)
    return replace(op, k=each(op.k), v=each(op.v), extra=extra)


def _pad(tensor: Tensor, width: int) -> Tensor:
    short = width - tensor.shape[-1]
    return torch.nn.functional.pad(tensor, (0, short)) if short else tensor
