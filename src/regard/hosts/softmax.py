"""Softmaxes inside attention modules: models that write their attention out, and hand over scores rather than q, k, v."""

import inspect
import re
from typing import Any

import torch
from torch import Tensor, nn

from ..core.mask import Mask
from ..core.operands import Operands
from .reading import Reader, Reading
from .refuse import Refusal
from .shapes import fold, heads_of, told_heads

GIVES = frozenset({"scores", "weights", "lse"})
_ATTENTION = re.compile("attention|attn")
_PROJECTIONS = {
    "q_proj", "query", "to_q", "q", "qk", "qkv", "qkv_proj", "query_key_value", "c_attn", "Wqkv", "in_proj", "q_lin",
}  # fmt: skip
_APPROXIMATE = re.compile("longformer|ledencoder|blocksparse|nystrom")
"""Modules whose softmax does not run over the keys, but over bands, blocks or landmarks."""


def read_function(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reading | None:
    """Read a call of `torch.nn.functional.softmax`."""
    return _read_function(module, *args, **kwargs)


def _read_function(
    module: nn.Module, input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> Reading | None:
    return _read(module, input, dim, dtype)


def read_method(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Reading | None:
    """Read a call of `torch.softmax` or `Tensor.softmax`; one that writes into a given tensor is left alone."""
    return None if "out" in kwargs else _read_method(module, *args, **kwargs)


def _read_method(module: nn.Module, input: Tensor, dim: Any, dtype: torch.dtype | None = None) -> Reading | None:
    return _read(module, input, dim, dtype)


def _read(module: nn.Module, scores: Tensor, dim: Any, dtype: torch.dtype | None) -> Reading | None:
    last = isinstance(dim, int) and dim in (-1, scores.ndim - 1)
    if not last or scores.ndim not in (3, 4) or not scores.is_floating_point() or not attends(module):
        return None
    if hasattr(module, "sampling_offsets"):  # deformable attention: over points between tokens, and there are no keys
        return None
    kind = type(module).__name__
    told = told_heads(module)
    misplaced = scores.ndim == 4 and told is not None and scores.shape[1] not in (told, 1)
    if _APPROXIMATE.search(kind.lower()) or misplaced:
        raise Refusal(
            f"the softmax of {kind}, over {list(scores.shape)}, does not run over the keys of one query and head: regard "
            "cannot measure sparse or approximate attention that is written out; exclude this model"
        )
    heads = heads_of(module, scores)
    s = fold(scores, heads)
    keys, dtype = s.shape[-1], dtype or scores.dtype
    work = torch.float64 if scores.dtype == torch.float64 else torch.float32
    allowed = s > torch.finfo(s.dtype).min / 2
    zero = s.new_zeros(())
    op = Operands(
        zero.expand(*s.shape[:3], 1),
        zero.expand(s.shape[0], 1, keys, 1),
        _mirror(keys, work, s.device).expand(s.shape[0], 1, -1, -1),
        Mask(s.shape[0], s.shape[2], keys, s.device, table=allowed),
        1.0,
        bias=s,
    )
    return Reading(
        op,
        "softmax",
        GIVES,
        lambda weights: fold(weights, heads).flip(-1),
        lambda out: out.flip(-1).reshape(scores.shape).to(dtype),
    )


def _mirror(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the mirrored identity [n, n], as values: the output is then the weights, mirrored.

    As a view of 2n - 1 numbers: a plain identity would take memory that no statistic needs.
    """
    line = torch.zeros(2 * n - 1, dtype=dtype, device=device)
    line[n - 1] = 1
    return line.as_strided((n, n), (1, 1))


def passed_over(module: nn.Module) -> str:
    """Say that a softmax of an attention module is none over keys that could be heard."""
    kind = type(module).__name__
    return f"{kind} has a softmax that does not run over the last axis of [batch, head, query, key]: it is not heard"


def is_softmax(module: nn.Module) -> bool:
    """Say whether a module does nothing but a softmax."""
    return isinstance(module, nn.Softmax) or type(module).__name__.endswith("Softmax")


def attends(module: nn.Module) -> bool:
    """Say whether a module is attention, by its name or its projections, and not one that the interface reaches."""
    kind = type(module)
    known = _ATTENTION.search(kind.__name__.lower()) or not _PROJECTIONS.isdisjoint(
        name for name, _ in module.named_children()
    )
    code = getattr(inspect.unwrap(kind.forward), "__code__", None)
    return bool(known) and "ALL_ATTENTION_FUNCTIONS" not in getattr(code, "co_names", ())


READERS: dict[Any, Reader] = {
    torch.nn.functional.softmax: read_function,
    torch.softmax: read_method,
    torch.Tensor.softmax: read_method,
}
