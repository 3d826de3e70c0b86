"""What one attention call computes with: the numbers, and nothing of where they come from.

Notation of the whole library: tensors are [batch, head, query, key], queries q [batch, head, query, dim], keys k
[batch, kv_head, key, dim], values v [batch, kv_head, key, value_dim]; `head` is always a query head, and `head //
groups` its key-value head.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from .effects import ScoreEffect
from .effects.effect import cut, cut_kv_heads
from .mask import Mask, Span


class Extra(NamedTuple):
    """Keys and values beside those of the call, as a learnt sink or registers: no mask and no bias reaches them.

    Shapes: k and v [batch or 1, kv_head or head, extra, ...]; rows [batch or 1, head or 1, query or 1] bool, which
    queries see them, None for all.
    """

    k: Tensor
    v: Tensor
    rows: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Operands:
    """One attention: scores `S = softcap(scale * q k^T) + bias + mask`, weights `A = softmax(S)` over keys, output `A v`.

    Shapes: q [batch, head, query, dim], k [batch, kv_head, key, dim], v [batch, kv_head, key, value_dim]; `sink`,
    logits of a key that has no value and only takes mass, [head] or [batch, head, query]; `bias` broadcastable to
    [batch, head, query, key]. `extra` keys join every row's softmax and its output: like a sink logit they are no keys
    of the call and only lower the mass that is left to these. `laws` are changes of scores, after bias and mask, in
    their order. `dropout` is the rate at which weights are dropped from outputs; statistics are of the weights before.
    Nothing is expanded or copied.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Mask
    scale: float
    softcap: float | None = None
    sink: Tensor | None = None
    bias: Tensor | None = None
    extra: tuple[Extra, ...] = ()
    laws: tuple[ScoreEffect, ...] = ()
    dropout: float = 0.0

    @property
    def batch(self) -> int:
        """Rows of the batch."""
        return self.q.shape[0]

    @property
    def heads(self) -> int:
        """Number of query heads."""
        return self.q.shape[1]

    @property
    def groups(self) -> int:
        """Query heads per key-value head."""
        return self.q.shape[1] // self.k.shape[1]

    @property
    def q_len(self) -> int:
        """Number of queries."""
        return self.q.shape[2]

    @property
    def k_len(self) -> int:
        """Number of keys."""
        return self.k.shape[2]

    @property
    def work_dtype(self) -> torch.dtype:
        """The dtype in which weights and statistics are computed: float64 for float64, else float32."""
        return torch.float64 if self.q.dtype == torch.float64 else torch.float32

    @property
    def needs_grad(self) -> bool:
        """True if autograd would have to go through this attention; laws may hold anything, so they count."""
        tensors = [self.q, self.k, self.v, self.sink, self.bias, self.mask.table]
        tensors += [tensor for extra in self.extra for tensor in (extra.k, extra.v)]
        return torch.is_grad_enabled() and (bool(self.laws) or any(t is not None and t.requires_grad for t in tensors))

    def key_bias(self) -> Tensor | None:
        """Return the bias if it depends on the key only, [batch or 1, head or 1, 1, key]."""
        return self.bias if self.bias is not None and self.bias.shape[2] == 1 else None

    def row_sink(self) -> Tensor | None:
        """Return the sink logits as [batch or 1, head, query or 1]."""
        if self.sink is None:
            return None
        return self.sink[None, :, None] if self.sink.ndim == 1 else self.sink

    def over(self, k: Tensor, v: Tensor, mask: Mask | None = None, bias: Tensor | None = None) -> "Operands":
        """Return the attention of the same queries over other keys, without sink logits, extra keys, laws or dropout."""
        k, v = (tensor.to(self.q.dtype).expand(self.batch, -1, -1, -1) for tensor in (k, v))
        mask = Mask(self.batch, self.q_len, k.shape[2], self.q.device) if mask is None else mask
        return Operands(self.q, k, v, mask, self.scale, self.softcap, bias=bias)

    def without(self, hidden: Tensor) -> "Operands":
        """Return the attention that sees neither some keys, [batch or 1, key] bool, nor sink logits nor extra keys."""
        return replace(self, mask=self.mask.without(hidden[:, None]), sink=None, extra=())

    def select(self, heads: Tensor | None, queries: slice) -> "Operands":
        """Return the attention of some query heads (indices; None for all) and of a range of queries."""
        start, stop, _ = queries.indices(self.q_len)
        if heads is None and (start, stop) == (0, self.q_len):
            return self
        span = slice(start, stop)
        q, k, v, sink, extra = self.q[:, :, span], self.k, self.v, self.sink, self.extra
        if heads is not None:
            kv = heads // self.groups
            q, k, v = q[:, heads], k[:, kv], v[:, kv]
            if sink is not None and sink.ndim == 1:
                sink = sink[heads]
            extra = tuple(
                e._replace(k=cut_kv_heads(e.k, heads, self.heads), v=cut_kv_heads(e.v, heads, self.heads))
                for e in extra
            )
        return replace(
            self,
            q=q,
            k=k,
            v=v,
            mask=self.mask.select(heads, span),
            sink=cut(sink, heads, span) if sink is not None and sink.ndim == 3 else sink,
            bias=None if self.bias is None else cut(self.bias, heads, span),
            extra=tuple(e if e.rows is None else e._replace(rows=cut(e.rows, heads, span)) for e in extra),
            laws=tuple(law.select(heads, span, self.heads) for law in self.laws),
        )

    def narrow(self, cols: Span) -> "Operands":
        """Return the attention over a range of keys; laws know no such range."""
        assert not self.laws
        lo, hi = cols
        return replace(
            self,
            k=self.k[:, :, lo:hi],
            v=self.v[:, :, lo:hi],
            mask=self.mask.narrow(cols),
            bias=None if self.bias is None else self.bias[..., lo:hi],
        )
