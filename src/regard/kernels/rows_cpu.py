"""The row kernel of the CPU: `rows.c`, compiled where there is a C compiler."""

import ctypes
import math
from functools import cache
from threading import Thread

import torch
from torch import Tensor
from torch.nn.functional import pad

from .compiled import library
from .rows import Answered, Asked

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
FUNCTIONALS = 8
"""Functionals that one call takes at most."""
_SIZES = "batch heads kv_heads queries panels dim value_dim functionals columns chunks"
_WORTH = 1 << 20
"""Multiplications that are worth a thread of their own."""


class _Call(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in _SIZES.split()),
        ("softcap", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("q", "k", "v")),
        *((name, ctypes.c_int64) for name in ("v_batch", "v_group", "v_head")),
        *((name, ctypes.c_void_p) for name in ("lo", "hi")),
        ("bounds_batch", ctypes.c_int64),
        ("bias", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("bias_batch", "bias_head")),
        *((name, ctypes.c_void_p) for name in ("beside", "f")),
        *((name, ctypes.c_int64) for name in ("f_batch", "f_head")),
        *((name, ctypes.c_void_p) for name in ("g", "x", "y")),
        *((name, ctypes.c_int64) for name in ("x_batch", "y_batch")),
        *((name, ctypes.c_void_p) for name in ("lse", "out", "score", "most", "apart", "row", "col")),
    ]


@cache
def _kernel() -> ctypes.CDLL | None:
    found = library("rows.c")
    if found is None:
        return None
    for number in (found.regard_call_size, found.regard_panel, found.regard_rows_at_once):
        number.restype = ctypes.c_int64
    found.regard_rows.argtypes = [ctypes.POINTER(_Call), ctypes.c_int64, ctypes.c_int64]
    # The source may have been replaced by that of another version since this module was imported.
    return found if found.regard_call_size() == ctypes.sizeof(_Call) else None


def supports(q: Tensor) -> bool:
    """Say whether the kernel is there and takes tensors like `q`."""
    return q.device.type == "cpu" and q.dtype in DTYPES and _kernel() is not None


def rows(asked: Asked) -> Answered:
    """Compute what is asked of one attention, with at most FUNCTIONALS functionals, on as many threads as torch uses.

    Raises MemoryError where there is no room for one block of rows.
    """
    kernel = _kernel()
    assert kernel is not None
    panel = kernel.regard_panel()
    batch, heads, queries, dim = asked.q.shape
    kv_heads, keys = asked.k.shape[1:3]
    panels = math.ceil(keys / panel)
    more = panels * panel - keys

    def empty(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32)

    q = (asked.q.float() * asked.scale).contiguous()
    k = pad(asked.k.float(), (0, 0, 0, more)).view(batch, kv_heads, panels, panel, dim).transpose(-1, -2).contiguous()
    lo, hi = asked.lo.contiguous(), asked.hi.contiguous()
    inner = batch * heads * queries
    values = asked.v
    v, out, wide = None, None, 0
    if values is not None:
        wide = math.ceil(values.shape[-1] / panel) * panel
        v = pad(values.float(), (0, wide - values.shape[-1], 0, more)).contiguous()
        out = empty(batch, heads, queries, wide)
    bias = None if asked.bias is None else pad(asked.bias, (0, more)).contiguous()
    f = None if asked.f is None else pad(asked.f, (0, more)).contiguous()
    functionals = 0 if f is None else f.shape[2]
    columns = 0 if asked.g is None else asked.g.shape[0]
    threads = max(1, min(torch.get_num_threads(), inner * keys * (dim + wide) // _WORTH))
    blocks = math.ceil(queries / kernel.regard_rows_at_once())
    chunks = 1 if batch * heads % threads == 0 else min(blocks, math.ceil(4 * threads / (batch * heads)))

    lse = empty(batch, heads, queries)
    score = empty(batch, heads, queries) if asked.score else None
    most = empty(batch, heads, queries) if asked.top else None
    x, y = (None, None) if asked.places is None else (asked.places[0].contiguous(), pad(asked.places[1], (0, more)))
    apart = None if x is None else empty(batch, heads, queries)
    row = empty(batch, heads, queries, functionals) if f is not None else None
    col = torch.zeros(batch, heads, chunks, columns, panels * panel) if asked.g is not None else None
    beside, g = (None if t is None else t.contiguous() for t in (asked.beside, asked.g))

    call = _Call(batch, heads, kv_heads, queries, panels, dim, wide, functionals, columns, chunks)

    def point(**tensors: Tensor | None) -> None:
        for name, tensor in tensors.items():
            setattr(call, name, None if tensor is None else tensor.data_ptr())

    point(q=q, k=k, v=v, lo=lo, hi=hi, bias=bias, beside=beside, f=f, g=g, x=x, y=y)
    point(lse=lse, out=out, score=score, most=most, apart=apart, row=row, col=col)
    call.softcap = asked.softcap or 0.0
    call.bounds_batch = _stride(lo, 0)
    if v is not None:
        call.v_batch, call.v_head, call.v_group = _stride(v, 0), v.stride(1), heads // v.shape[1]
    if bias is not None:
        call.bias_batch, call.bias_head = _stride(bias, 0), _stride(bias, 1)
    if f is not None:
        call.f_batch, call.f_head = _stride(f, 0), _stride(f, 1)
    if x is not None and y is not None:
        call.x_batch, call.y_batch = _stride(x, 0), _stride(y, 0)

    _run(kernel, call, threads)
    return Answered(
        lse,
        None if out is None or values is None else out[..., : values.shape[-1]],
        score,
        most,
        apart,
        row,
        None if col is None else col.sum(2).movedim(2, 0)[..., :keys],
    )


def _stride(tensor: Tensor, dim: int) -> int:
    """The step along an axis, 0 where all share one."""
    return 0 if tensor.shape[dim] == 1 else tensor.stride(dim)


def _run(kernel: ctypes.CDLL, call: _Call, threads: int) -> None:
    """Spread the work over threads, which Python's lock does not hold up; none outlives the call, so that forks are safe."""
    short: list[int] = []

    def work(first: int) -> None:
        short.append(kernel.regard_rows(ctypes.byref(call), first, threads))

    others = [Thread(target=work, args=(first,)) for first in range(1, threads)]
    for thread in others:
        thread.start()
    work(0)
    for thread in others:
        thread.join()
    if any(short):
        raise MemoryError("there is no memory for one block of attention's rows")
