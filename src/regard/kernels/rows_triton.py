"""The row kernel of CUDA devices, in Triton: one pass for what each query is asked, and one for the columns.

Tested in Triton's interpreter and compiled for NVIDIA's sm_80 and sm_90; it has not yet run on a GPU.
"""

from __future__ import annotations

import math
import os
import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .rows import MASKED, Answered, Asked

if TYPE_CHECKING:
    import triton.language as tl  # type: ignore[import-not-found, unused-ignore]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FUNCTIONALS = 8
"""Functionals that one call takes at most."""
COLUMNS = 8
"""Column sums of one pass over the scores; more take passes of their own."""
WIDTH = 512
"""Bytes of the widest query that a tile holds; wider values are taken in pieces."""
HALF, SINGLE = ((128, 64), (64, 32)), ((64, 32), (32, 32))
"""What a tile holds and what it streams past that, queries or keys: in 16 bits and in float32, to half of WIDTH and above.

For sm_80 and later and 8 warps. Two tiles of k, two of v and one of q take less than 100 KiB of shared memory; scores and
output are in registers, and the operands of float32, which tensor cores do not take without rounding them, are, too.
"""


def supports(q: Tensor) -> bool:
    """Say whether the kernel is there and takes tensors like `q`; those of the CPU only in Triton's interpreter."""
    # The interpreter multiplies the bits of bfloat16 as if they were integers (triton-lang/triton#11584).
    interpreted = os.environ.get("TRITON_INTERPRET") == "1" and q.device.type == "cpu" and q.dtype != torch.bfloat16
    taken = q.dtype in DTYPES and q.shape[-1] * q.element_size() <= WIDTH
    there = taken and (q.is_cuda or interpreted) and find_spec("triton") is not None
    return there and _right(q.device, q.dtype)


@cache
def _right(device: torch.device, dtype: torch.dtype) -> bool:
    """Say whether the kernel runs on a device and is right there, tried once; a user is warned where it is not.

    There PyTorch's operators do its work, more slowly.
    """
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 70, 64, generator=generator).to(device, dtype) for _ in range(3))
    hi = torch.arange(1, 71, dtype=torch.int32, device=device)[None]
    ones = torch.ones(1, 1, 2, 70, device=device)
    try:
        got = rows(Asked(q, k, v, 0.125, torch.zeros_like(hi), hi, g=ones))
        scores = (q.double() @ k.double().mT * 0.125).masked_fill(ones.new_ones(70, 70).triu(1).bool(), -torch.inf)
        weights = scores.softmax(-1)
        assert got.out is not None and got.col is not None
        off = max(float((got.out - weights @ v.double()).abs().max()), float((got.col[0] - weights.sum(2)).abs().max()))
        reason = "" if off < (1e-4 if dtype == torch.float32 else 5e-2) else f"it is off by {off:.1e}"
    except Exception as error:  # whatever a driver, a compiler or a device has to say
        reason = f"{type(error).__name__}: {error}"
    if reason:
        warnings.warn(f"regard's kernel is not used on {device}, PyTorch's operators are: {reason}", stacklevel=2)
    return not reason


def rows(asked: Asked) -> Answered:
    """Compute what is asked of one attention, with at most FUNCTIONALS functionals, on the device of its tensors."""
    attend, columns = _kernels()
    q, k, v, f, g = asked.q, asked.k, asked.v, _packed(asked.f), _packed(asked.g)
    lo, hi, bias, beside = asked.lo.contiguous(), asked.hi.contiguous(), _packed(asked.bias), _packed(asked.beside)
    x, y = (None, None) if asked.places is None else (asked.places[0].contiguous(), asked.places[1].contiguous())
    batch, heads, queries, dim = q.shape
    scale, cap = asked.scale * math.log2(math.e), None
    if asked.softcap is not None:
        scale, cap = 2 * scale / asked.softcap, asked.softcap * math.log2(math.e)
    keys, value_dim, n = k.shape[2], 1 if v is None else v.shape[-1], 0 if f is None else f.shape[2]
    size = q.element_size() if v is None else v.element_size()
    block_d, block_v = _power(dim), min(_power(value_dim), WIDTH // size)
    single = torch.float32 in (q.dtype, q.dtype if v is None else v.dtype)
    held, streamed = (SINGLE if single else HALF)[max(block_d * q.element_size(), block_v * size) > WIDTH // 2]

    def empty(*shape: int) -> Tensor:
        return torch.empty(*shape, dtype=torch.float32, device=q.device)

    lse = empty(batch, heads, queries)
    out = None if v is None else empty(batch, heads, queries, value_dim)
    score = empty(batch, heads, queries) if asked.score else None
    most = empty(batch, heads, queries) if asked.top else None
    apart = None if x is None else empty(batch, heads, queries)
    row = None if f is None else empty(batch, heads, queries, n)
    col = None if g is None else empty(g.shape[0], batch, heads, keys)
    shared: dict[str, Any] = {
        **{"q": q, "k": k, "lo": lo, "hi": hi, "bias": bias, "lse": lse, "scale": scale, "cap": cap},
        **{"heads": heads, "queries": queries, "keys": keys, "group": heads // k.shape[1]},
        **{"q_batch": _stride(q, 0), "q_head": _stride(q, 1), "q_query": q.stride(2), "q_dim": q.stride(3)},
        **{"k_batch": _stride(k, 0), "k_head": _stride(k, 1), "k_key": k.stride(2), "k_dim": k.stride(3)},
        **{"bounds_batch": _stride(lo, 0), "bias_batch": _stride(bias, 0), "bias_head": _stride(bias, 1)},
        **{"DIM": dim, "MASKED": MASKED, "BLOCK_D": block_d, "num_warps": 8, "num_stages": 2},
    }
    with torch.cuda.device_of(q):  # Triton launches on the current device
        block_q = min(held, _power(queries))
        attend[math.ceil(queries / block_q), batch * heads, math.ceil(value_dim / block_v)](
            **shared,
            **{"v": v, "beside": beside, "f": f, "x": x, "y": y},
            **{"out": out, "score": score, "most": most, "apart": apart, "row": row},
            **{"v_batch": _stride(v, 0), "v_head": _stride(v, 1), "v_key": _stride(v, 2), "v_dim": _stride(v, 3)},
            **{"v_group": 1 if v is None else heads // v.shape[1], "f_batch": _stride(f, 0), "f_head": _stride(f, 1)},
            **{"x_batch": _stride(x, 0), "y_batch": _stride(y, 0), "VALUE_DIM": value_dim, "FUNCTIONALS": n},
            **{"PARTS": 1 if single else 3, "BLOCK_V": block_v, "BLOCK_F": 1 << max(n - 1, 0).bit_length()},
            **{"BLOCK_Q": block_q, "BLOCK_K": streamed},
        )
        if g is not None:
            block_q, block_k, m = min(streamed, _power(queries)), min(held, _power(keys)), min(g.shape[0], COLUMNS)
            first, last = _reach(lo, hi, keys, block_q, block_k)
            columns[math.ceil(keys / block_k), batch * heads, math.ceil(g.shape[0] / m)](
                **shared,
                **{"reach_first": first, "reach_last": last, "g": g, "col": col, "columns": g.shape[0]},
                **{"COLUMNS": m, "BLOCK_M": 1 << (m - 1).bit_length(), "BLOCK_Q": block_q, "BLOCK_K": block_k},
            )
    return Answered(lse, out, score, most, apart, row, col)


def _reach(lo: Tensor, hi: Tensor, keys: int, block_q: int, block_k: int) -> tuple[Tensor, Tensor]:
    """The blocks of queries, from the first to before the last, outside which none sees a key of a block of keys.

    Both [batch or 1, key block] int32; exact where lo and hi grow with the query, and never too narrow.
    """
    sees = lo < hi
    more = -lo.shape[1] % block_q
    lo, hi = torch.where(sees, lo, keys), torch.where(sees, hi, 0)
    least = torch.nn.functional.pad(lo, (0, more), value=keys).unflatten(1, (-1, block_q)).amin(2)
    most = torch.nn.functional.pad(hi, (0, more)).unflatten(1, (-1, block_q)).amax(2)
    starts = torch.arange(0, keys, block_k, dtype=lo.dtype, device=lo.device).repeat(lo.shape[0], 1)
    first = torch.searchsorted(most.cummax(1).values, starts, right=True, out_int32=True)
    last = torch.searchsorted(least.flip(1).cummin(1).values.flip(1), starts + block_k, out_int32=True)
    return first, last


def _power(size: int) -> int:
    """The length of a tile that holds `size`: a power of two, and no less than tensor cores take."""
    return max(16, 1 << (size - 1).bit_length())


def _packed(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()


def _stride(tensor: Tensor | None, dim: int) -> int:
    """The step along an axis, 0 where all share one."""
    return 0 if tensor is None or tensor.shape[dim] == 1 else tensor.stride(dim)


# What follows is Triton's language and reads no tensor: an argument that is a tensor there is an address here, one that is
# None is left out when the kernel is compiled, and so is what depends on it. Scores are in units of log 2, because the
# device's exponential is that of 2.


@cache
def _kernels() -> tuple[Any, Any]:
    """The two kernels; Triton, which only PyTorch's CUDA builds bring, is imported when they are first wanted."""
    globals()["tl"] = import_module("triton.language")
    jit = import_module("triton").jit
    return jit(_attend), jit(_columns)


def _attend(
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    lo: tl.tensor,
    hi: tl.tensor,
    bias: tl.tensor,
    beside: tl.tensor,
    f: tl.tensor,
    x: tl.tensor,
    y: tl.tensor,
    lse: tl.tensor,
    out: tl.tensor,
    score: tl.tensor,
    most: tl.tensor,
    apart: tl.tensor,
    row: tl.tensor,
    scale: tl.tensor,
    cap: tl.tensor,
    heads: tl.tensor,
    queries: tl.tensor,
    keys: tl.tensor,
    group: tl.tensor,
    v_group: tl.tensor,
    q_batch: tl.tensor,
    q_head: tl.tensor,
    q_query: tl.tensor,
    q_dim: tl.tensor,
    k_batch: tl.tensor,
    k_head: tl.tensor,
    k_key: tl.tensor,
    k_dim: tl.tensor,
    bounds_batch: tl.tensor,
    bias_batch: tl.tensor,
    bias_head: tl.tensor,
    f_batch: tl.tensor,
    f_head: tl.tensor,
    v_batch: tl.tensor,
    v_head: tl.tensor,
    v_key: tl.tensor,
    v_dim: tl.tensor,
    x_batch: tl.tensor,
    y_batch: tl.tensor,
    DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    PARTS: tl.constexpr,
    FUNCTIONALS: tl.constexpr,
    MASKED: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_F: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """Run over the keys of a block of queries, with the softmax taken on the way, relative to the largest score so far."""
    LOG2E: tl.constexpr = 1.4426950408889634
    LN2: tl.constexpr = 0.6931471805599453
    # With a causal mask the last queries see most: they begin first, so that no long row is left to the end.
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    bh = tl.program_id(1).to(tl.int64)
    b, h = bh // heads, bh % heads
    i = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
    stored = i < queries
    i = tl.minimum(i, queries - 1)  # rows beyond the last repeat it, so that they widen no loop, and are not kept
    at = bh * queries + i
    d = tl.arange(0, BLOCK_D)
    c = tl.program_id(2) * BLOCK_V + tl.arange(0, BLOCK_V)
    n = tl.arange(0, BLOCK_F)

    low = tl.load(lo + b * bounds_batch + i)
    high = tl.load(hi + b * bounds_batch + i)
    sees = low < high
    start = tl.min(tl.where(sees, low, keys), 0) // BLOCK_K * BLOCK_K
    end = tl.max(tl.where(sees, high, 0), 0)
    # From `inner` to `outer` every row sees every key.
    inner = tl.minimum(tl.cdiv(tl.max(low, 0), BLOCK_K) * BLOCK_K, end)
    outer = tl.maximum(tl.minimum(tl.min(high, 0) // BLOCK_K * BLOCK_K, end), inner)

    q_tile = tl.load(
        q + b * q_batch + h * q_head + i.to(tl.int64)[:, None] * q_query + d[None, :] * q_dim,
        mask=(d < DIM)[None, :],
        other=0.0,
    )
    k += b * k_batch + h // group * k_head
    top = tl.full([BLOCK_Q], MASKED / 2, tl.float32)  # above a masked score, so that one never weighs anything
    aside = tl.full([BLOCK_Q], MASKED, tl.float32)
    if beside is not None:
        aside = tl.maximum(tl.load(beside + at) * LOG2E, aside)
        top = tl.maximum(top, aside)
    largest = tl.full([BLOCK_Q], MASKED, tl.float32)  # that of the keys, while `top` may be of what is beside them
    mass = tl.zeros([BLOCK_Q], tl.float32)
    scores = tl.zeros([BLOCK_Q], tl.float32)
    moved = tl.zeros([BLOCK_Q], tl.float32)
    sums = tl.zeros([BLOCK_Q, BLOCK_F], tl.float32)
    gathered = tl.zeros([BLOCK_Q, BLOCK_V], tl.float32)
    if v is not None:
        v += b * v_batch + h // v_group * v_head
    if x is not None:
        place = tl.load(x + b * x_batch + i)
    for part in tl.static_range(PARTS):
        for first in range(
            start if part == 0 else inner if part == 1 else outer,
            end if part == PARTS - 1 else inner if part == 0 else outer,
            BLOCK_K,
        ):
            j = first + tl.arange(0, BLOCK_K)
            there = j < keys
            k_tile = tl.load(
                k + j.to(tl.int64)[None, :] * k_key + d[:, None] * k_dim,
                mask=(d < DIM)[:, None] & there[None, :],
                other=0.0,
            )
            s = tl.dot(q_tile, k_tile, input_precision="ieee") * scale
            if cap is not None:
                s = cap - 2 * cap / (1 + tl.exp2(s))  # a hyperbolic tangent: `scale` has doubled its argument
            if bias is not None:
                added = tl.load(bias + b * bias_batch + h * bias_head + j, mask=there, other=0.0)
                s = tl.where((added <= MASKED / 2)[None, :], MASKED, s + added[None, :] * LOG2E)
            if part != 1:
                s = tl.where((j[None, :] >= low[:, None]) & (j[None, :] < high[:, None]), s, MASKED)
            highest = tl.max(s, 1)
            if most is not None:
                largest = tl.maximum(largest, highest)
            now = tl.maximum(top, highest)
            s -= now[:, None]
            w = tl.exp2(s)
            kept = tl.exp2(top - now)
            if score is not None:
                # Every addend is at most 0, before and after the move to a larger maximum: nothing cancels.
                scores = (scores + (top - now) * mass) * kept + tl.sum(w * s, 1)
            mass = mass * kept + tl.sum(w, 1)
            if apart is not None:
                other = tl.load(y + b * y_batch + j, mask=there, other=0.0)
                moved = moved * kept + tl.sum(w * tl.abs(place[:, None] - other[None, :]), 1)
            if f is not None:
                of_key = f + b * f_batch + h * f_head + j
                sums = sums * kept[:, None]
                for one in tl.static_range(FUNCTIONALS):
                    value = tl.load(of_key + one * keys, mask=there, other=0.0)
                    sums += tl.where(n[None, :] == one, tl.sum(w * value[None, :], 1)[:, None], 0.0)
            if v is not None:
                v_tile = tl.load(
                    v + j.to(tl.int64)[:, None] * v_key + c[None, :] * v_dim,
                    mask=there[:, None] & (c < VALUE_DIM)[None, :],
                    other=0.0,
                )
                gathered = tl.dot(w.to(v_tile.dtype), v_tile, gathered * kept[:, None], input_precision="ieee")
            top = now

    whole = mass + tl.exp2(aside - top)
    dead = whole == 0.0
    whole = tl.where(dead, 1.0, whole)
    inverse = tl.where(dead, 0.0, 1.0 / whole)
    if out is not None:
        tl.store(
            out + at[:, None] * VALUE_DIM + c[None, :],
            gathered * inverse[:, None],
            mask=stored[:, None] & (c < VALUE_DIM)[None, :],
        )
    if tl.program_id(2) == 0:
        tl.store(lse + at, tl.where(dead, float("-inf"), (top + tl.log2(whole)) * LN2), mask=stored)
        if score is not None:
            tl.store(score + at, (scores - mass * tl.log2(whole)) * inverse * LN2, mask=stored)
        if most is not None:
            tl.store(most + at, tl.exp2(largest - top) * inverse, mask=stored)
        if apart is not None:
            tl.store(apart + at, moved * inverse, mask=stored)
        if row is not None:
            tl.store(
                row + at[:, None] * FUNCTIONALS + n[None, :],
                sums * inverse[:, None],
                mask=stored[:, None] & (n < FUNCTIONALS)[None, :],
            )


def _columns(
    q: tl.tensor,
    k: tl.tensor,
    lo: tl.tensor,
    hi: tl.tensor,
    reach_first: tl.tensor,
    reach_last: tl.tensor,
    bias: tl.tensor,
    lse: tl.tensor,
    g: tl.tensor,
    col: tl.tensor,
    scale: tl.tensor,
    cap: tl.tensor,
    heads: tl.tensor,
    queries: tl.tensor,
    keys: tl.tensor,
    group: tl.tensor,
    columns: tl.tensor,
    q_batch: tl.tensor,
    q_head: tl.tensor,
    q_query: tl.tensor,
    q_dim: tl.tensor,
    k_batch: tl.tensor,
    k_head: tl.tensor,
    k_key: tl.tensor,
    k_dim: tl.tensor,
    bounds_batch: tl.tensor,
    bias_batch: tl.tensor,
    bias_head: tl.tensor,
    DIM: tl.constexpr,
    MASKED: tl.constexpr,
    COLUMNS: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
) -> None:
    """Run over the queries of a block of keys, with weights made from the log-sum-exps that `_attend` has left."""
    LOG2E: tl.constexpr = 1.4426950408889634
    bh = tl.program_id(1).to(tl.int64)
    b, h = bh // heads, bh % heads
    j = tl.program_id(0) * BLOCK_K + tl.arange(0, BLOCK_K)
    there = j < keys
    d = tl.arange(0, BLOCK_D)
    m = tl.arange(0, BLOCK_M)
    base = tl.program_id(2) * COLUMNS

    # Keys lie along the first axis of a tile, so that a sum over queries stays within a warp.
    k_tile = tl.load(
        k + b * k_batch + h // group * k_head + j.to(tl.int64)[:, None] * k_key + d[None, :] * k_dim,
        mask=there[:, None] & (d < DIM)[None, :],
        other=0.0,
    )
    if bias is not None:
        added = tl.load(bias + b * bias_batch + h * bias_head + j, mask=there, other=0.0)
        masked = added <= MASKED / 2
        added = tl.where(masked, 0.0, added * LOG2E)
    q += b * q_batch + h * q_head
    sums = tl.zeros([BLOCK_K, BLOCK_M], tl.float32)
    # Bounds of a batch of one are shared, and so is what they reach.
    reach = tl.where(bounds_batch == 0, 0, b) * tl.num_programs(0) + tl.program_id(0)
    for block in range(tl.load(reach_first + reach), tl.load(reach_last + reach)):
        i = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
        asked = i < queries
        at = bh * queries + i
        q_tile = tl.load(
            q + i.to(tl.int64)[None, :] * q_query + d[:, None] * q_dim,
            mask=(d < DIM)[:, None] & asked[None, :],
            other=0.0,
        )
        low = tl.load(lo + b * bounds_batch + i, mask=asked, other=0)
        high = tl.load(hi + b * bounds_batch + i, mask=asked, other=0)
        norm = (
            tl.load(lse + at, mask=asked, other=0.0) * LOG2E
        )  # -inf of a dead row, all of whose keys are masked below
        s = tl.dot(k_tile, q_tile, input_precision="ieee") * scale
        if cap is not None:
            s = cap - 2 * cap / (1 + tl.exp2(s))
        s -= norm[None, :]
        seen = (j[:, None] >= low[None, :]) & (j[:, None] < high[None, :])
        if bias is not None:
            s += added[:, None]
            seen &= (masked == 0)[:, None]
        w = tl.exp2(tl.where(seen, s, MASKED))
        for one in tl.static_range(COLUMNS):
            # Columns beyond the last are computed as the last, and not kept.
            of_query = g + tl.minimum(base + one, columns - 1).to(tl.int64) * tl.num_programs(1) * queries + at
            given = tl.load(of_query, mask=asked, other=0.0)
            sums += tl.where(m[None, :] == one, tl.sum(w * given[None, :], 1)[:, None], 0.0)
    tl.store(
        col + ((base + m).to(tl.int64)[None, :] * tl.num_programs(1) + bh) * keys + j[:, None],
        sums,
        mask=there[:, None] & ((m < COLUMNS) & (base + m < columns))[None, :],
    )
