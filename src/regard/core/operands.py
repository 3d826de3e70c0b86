"""What one attention call computes with: the numbers, and nothing of where they come from.

Notation of the whole library: tensors are [batch, head, query, key], queries q [batch, head, query, dim], keys k
[batch, kv_head, key, dim], values v [batch, kv_head, key, value_dim]; `head` is always a query head, and `head //
groups` its key-value head.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .mask import Mask, Span


@dataclass(frozen=True, eq=False)
class Operands:
    """One attention: scores `S = softcap(scale * q k^T) + bias + mask`, weights `A = softmax(S)` over keys, output `A v`.

    Shapes: q [batch, head, query, dim], k [batch, kv_head, key, dim], v [batch, kv_head, key, value_dim]; `sink`,
    logits of a key that has no value and only takes mass, [head] or [batch, head, query]; `bias` broadcastable to
    [batch, head, query, key]. Nothing is expanded or copied.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Mask
    scale: float
    softcap: float | None = None
    sink: Tensor | None = None
    bias: Tensor | None = None

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
        """True if autograd would have to go through this attention."""
        tensors = (self.q, self.k, self.v, self.sink, self.bias)
        return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)

    def key_bias(self) -> Tensor | None:
        """Return the bias if it depends on the key only, [batch or 1, head or 1, 1, key]."""
        return self.bias if self.bias is not None and self.bias.shape[2] == 1 else None

    def row_sink(self) -> Tensor | None:
        """Return the sink logits as [batch or 1, head, query or 1]."""
        if self.sink is None:
            return None
        return self.sink[None, :, None] if self.sink.ndim == 1 else self.sink

    def select(self, heads: Tensor | None, queries: slice) -> "Operands":
        """Return the attention of some query heads (indices; None for all) and of a range of queries."""
        start, stop, _ = queries.indices(self.q_len)
        if heads is None and (start, stop) == (0, self.q_len):
            return self
        q, k, v, sink, bias = self.q[:, :, start:stop], self.k, self.v, self.sink, self.bias
        if sink is not None and sink.ndim == 3 and sink.shape[2] > 1:
            sink = sink[:, :, start:stop]
        if bias is not None and bias.shape[2] > 1:
            bias = bias[:, :, start:stop]
        if heads is not None:
            kv = heads // self.groups
            q, k, v = q[:, heads], k[:, kv], v[:, kv]
            if sink is not None:
                sink = sink[heads] if sink.ndim == 1 else sink[:, heads]
            if bias is not None and bias.shape[1] > 1:
                bias = bias[:, heads]
        return replace(self, q=q, k=k, v=v, mask=self.mask.select(heads, slice(start, stop)), sink=sink, bias=bias)

    def narrow(self, cols: Span) -> "Operands":
        """Return the attention over a range of keys."""
        lo, hi = cols
        return replace(
            self,
            k=self.k[:, :, lo:hi],
            v=self.v[:, :, lo:hi],
            mask=self.mask.narrow(cols),
            bias=None if self.bias is None else self.bias[..., lo:hi],
        )
