"""Effects on queries, keys and values."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

from .effect import Effect, Stage, cut_heads, cut_kv_heads

if TYPE_CHECKING:
    from ..operands import Operands


@dataclass(frozen=True, eq=False)
class InputEffect(Effect):
    """A change of what goes into the attention."""

    stage: ClassVar[Stage] = "inputs"

    def on_operands(self, op: "Operands") -> "Operands":
        """Return the changed operands; the same object if nothing changes."""
        raise NotImplementedError

    def touched(self, op: "Operands") -> Tensor:
        """Return the rows whose output may change, [batch or 1, head or 1, query or 1] bool."""
        return self.acting.to(op.q.device)


@dataclass(frozen=True, eq=False)
class Replace(InputEffect):
    """Replace queries, keys or values by given ones; None keeps those of the call.

    Shapes: q [batch or 1, head or 1, query, dim], k and v [batch or 1, kv_head or head, key, ...]. Keys and values
    serve all queries, so `only` may choose examples and heads for them, but raises ValueError for some of the queries.
    """

    q: Tensor | None = None
    k: Tensor | None = None
    v: Tensor | None = None

    def select(self, heads: Tensor | None, queries: slice, of: int) -> Self:
        return replace(
            super().select(heads, queries, of),
            q=None if self.q is None else cut_heads(self.q[:, :, queries], heads),
            k=None if self.k is None else cut_kv_heads(self.k, heads, of),
            v=None if self.v is None else cut_kv_heads(self.v, heads, of),
        )

    def on_operands(self, op: "Operands") -> "Operands":
        q = op.q if self.q is None else self.limit(self.q.to(op.q).expand_as(op.q), op.q)
        k, v = self._shared(self.k, op.k, op), self._shared(self.v, op.v, op)
        if k.shape[1] != v.shape[1]:
            k, v = (t.repeat_interleave(op.heads // t.shape[1], 1) for t in (k, v))
        unchanged = all(new is old or _equal(new, old) for new, old in ((q, op.q), (k, op.k), (v, op.v)))
        return op if unchanged else replace(op, q=q, k=k, v=v)

    def touched(self, op: "Operands") -> Tensor:
        if self.k is not None or self.v is not None:
            return super().touched(op)
        assert self.q is not None
        return (self.q.to(op.q) != op.q).any(-1) & self.acting.to(op.q.device)

    def _shared(self, new: Tensor | None, old: Tensor, op: "Operands") -> Tensor:
        if new is None:
            return old
        new = new.to(old).expand(op.batch, -1, -1, -1)
        if new.shape[2] != op.k_len:
            raise ValueError(
                f"{new.shape[2]} keys or values cannot replace those of {op.k_len} keys: add keys by ExtraKV"
            )
        if self.where is None:
            return new
        chosen = self.where[:, :, :1]
        if bool((self.where != chosen).any()):
            raise ValueError(
                "keys and values serve all queries of a head: they cannot be replaced for some queries only"
            )
        new, old = (t.repeat_interleave(op.heads // t.shape[1], 1) for t in (new, old))
        return torch.where(chosen[..., None], new, old)


@dataclass(frozen=True, eq=False)
class ExtraKV(InputEffect):
    """Add keys and values that every row sees, beside those of the call, and that no mask or bias reaches.

    Shapes: k and v [batch or 1, kv_head or head, extra, ...].
    """

    k: Tensor
    v: Tensor

    def select(self, heads: Tensor | None, queries: slice, of: int) -> Self:
        limited = super().select(heads, queries, of)
        return replace(limited, k=cut_kv_heads(self.k, heads, of), v=cut_kv_heads(self.v, heads, of))

    def on_operands(self, op: "Operands") -> "Operands":
        from ..operands import Extra

        if self.k.shape[2] == 0:
            return op
        return replace(op, extra=(*op.extra, Extra(self.k.to(op.k), self.v.to(op.v), self.where)))


def _equal(new: Tensor, old: Tensor) -> bool:
    return new.shape == old.shape and torch.equal(new, old)
