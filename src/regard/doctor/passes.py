"""Forward passes of a model, and how far apart their outputs are."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..core.call import Call
from ..core.patchwork import Patchwork
from ..hosts import Tap
from ..lens.aside import drawing_alike
from ..lens.rows import rows_of


def run(model: nn.Module, x: Mapping[str, Any], **options: Any) -> Any:
    """Run the model without gradients, and without a cache unless `options` ask for one; what it draws, it draws alike."""
    known = inspect.signature(model.forward).parameters
    extra = {"use_cache": False} if "use_cache" in known else {}
    with torch.no_grad(), drawing_alike(model):
        return model(**{**x, **extra, **options})


def watch(model: nn.Module, x: Mapping[str, Any], see: Callable[[Call], Tensor | None], **options: Any) -> Any:
    """Run the model as `run` does, show each attention call of every part, and return the model's output."""
    with Tap(model, see).listening():
        return run(model, x, **options)


def weights(call: Call) -> Tensor:
    """Return the whole map of a call as a lens computes it, [batch, head, query, key]."""
    patchwork = Patchwork.of(call.op, call.host)
    return rows_of(patchwork, range(call.op.heads), range(call.op.q_len))


def apart(some: list[Tensor], others: list[Tensor]) -> float:
    """Return the largest difference of two outputs, in shares of the largest value of each tensor of `others`."""
    if len(some) != len(others) or any(a.shape != b.shape for a, b in zip(some, others, strict=True)):
        return float("inf")
    return max((_apart(a, b) for a, b in zip(some, others, strict=True)), default=0.0)


def _apart(a: Tensor, b: Tensor) -> float:
    if torch.equal(a, b) or not a.numel():
        return 0.0
    a, b = a.double(), b.double()
    same = (a == b) | (a.isnan() & b.isnan())
    off = torch.where(same, 0.0, (a - b).abs()).max()
    scale = b[b.isfinite()].abs().max() if bool(b.isfinite().any()) else b.new_ones(())
    return float((off / scale.clamp_min(torch.finfo(torch.float32).tiny)).nan_to_num(nan=float("inf")))


def tolerance(model: nn.Module, *others: torch.dtype) -> float:
    """Return what passes for rounding: half of the digits of the coarsest precision, of the model's and of others."""
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}.union(others) or {torch.float32}
    return float(max(torch.finfo(kind).eps for kind in kinds) ** 0.5)
