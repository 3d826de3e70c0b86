"""The mask of a call as a recipe: what is masked is known without a [query, key] tensor and made dense per block only."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

Span = tuple[int, int]
"""A half-open range of indices."""
Structure = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""`(batch, head, query, key) -> bool` on broadcastable index tensors, True where the query may attend to the key."""


def pick(tensor: Tensor, cols: Span | Tensor) -> Tensor:
    """Take key columns of a tensor [batch or 1, head or 1, query or 1, key]: a range, or indices [batch, col]."""
    if isinstance(cols, tuple):
        return tensor[..., cols[0] : cols[1]]
    index = cols[:, None, None, :].expand(-1, tensor.shape[1], tensor.shape[2], -1)
    return tensor.expand(cols.shape[0], -1, -1, -1).gather(-1, index)


@dataclass(frozen=True, eq=False)
class Mask:
    """Which keys each query of a call may attend to, and what a host adds to their scores.

    A key is allowed where the structure, `keys` and `table` all allow it. The structure is one of: everything; causal,
    where query i sees keys j <= i + `offset`; or `function` of the indices i + `q_start`, j + `k_start`. `reach` says how many
    indices back and ahead of its own a query can see at most, where that is known of a function.

    Shapes: `keys` [batch or 1, key] or [batch or 1, head or 1, key] bool, False for padding; `table` [batch or 1, head
    or 1, query, key], bool (True = allowed) or float (added to the scores; anything at or below half the dtype's
    minimum counts as masked).
    """

    batch: int
    q_len: int
    k_len: int
    device: torch.device
    causal: bool = False
    offset: int = 0
    function: Structure | None = None
    reach: tuple[int, int] | None = None
    q_start: int = 0
    k_start: int = 0
    keys: Tensor | None = None
    table: Tensor | None = None

    @property
    def plain(self) -> bool:
        """True if the mask is full or causal, with at most padded keys: all that fused kernels take without a dense mask."""
        return self.function is None and self.table is None

    @property
    def keys_by_head(self) -> Tensor:
        """`keys` as [batch or 1, head or 1, key]."""
        assert self.keys is not None
        return self.keys if self.keys.ndim == 3 else self.keys[:, None]

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor] | None:
        """The range of keys that each query sees, `keys` left aside: `lo` and `hi`, [batch or 1, query] int32.

        None where a query sees keys with gaps between them, heads differ, or scores are added to.
        """
        if self.plain:
            last = torch.arange(self.q_len, device=self.device) + 1 + self.offset if self.causal else self.k_len
            hi = torch.zeros(1, self.q_len, dtype=torch.int32, device=self.device) + last
            return torch.zeros_like(hi), hi.clamp(0, self.k_len).int()
        structure = replace(self, keys=None)
        found = [structure._bounds(rows) for rows in self._blocks(1 << 18)]
        if any(bounds is None for bounds in found):
            return None
        lo, hi = (torch.cat(parts, -1) for parts in zip(*filter(None, found), strict=True))
        return lo, hi

    def _bounds(self, rows: Span) -> tuple[Tensor, Tensor] | None:
        cols = self.span(rows)
        seen, added = self._dense(rows), self.added(rows, cols)
        if seen.shape[1] > 1 or (added is not None and bool((added * seen.expand_as(added)).any())):
            return None
        seen = seen[:, 0]
        count = seen.sum(-1)
        first = seen.int().argmax(-1)
        at = torch.arange(seen.shape[-1], device=self.device)
        if not torch.equal(seen, (at >= first[..., None]) & (at < (first + count)[..., None])):
            return None
        return (first + cols[0]).int(), (first + count + cols[0]).int()

    def without(self, keys: Tensor) -> "Mask":
        """Return the mask that also hides some keys, [batch or 1, head or 1, key] bool."""
        return replace(self, keys=~keys if self.keys is None else self.keys_by_head & ~keys)

    def span(self, rows: Span) -> Span:
        """Return the range of keys outside which no row of `rows` sees anything."""
        lo, hi = 0, self.k_len
        if self.causal:
            hi = rows[1] + self.offset
        if self.reach is not None:
            shift = self.q_start - self.k_start
            lo, hi = rows[0] + shift - self.reach[0], min(hi, rows[1] + shift + self.reach[1])
        lo = max(0, min(lo, self.k_len - 1))
        return lo, max(lo, min(self.k_len, hi))

    def allowed(self, rows: Span, cols: Span | Tensor) -> Tensor | None:
        """Return what `rows` may see of `cols`, bool, broadcastable to [batch, head, row, col]; None if all of it.

        `cols` is a range of keys, or key indices [batch, col].
        """
        parts = []
        at_q = torch.arange(rows[0], rows[1], device=self.device)[None, None, :, None]
        at_k = self._columns(cols)
        everything_past = isinstance(cols, tuple) and cols[1] - 1 <= rows[0] + self.offset
        if self.causal and not everything_past:
            parts.append(at_k <= at_q + self.offset)
        if self.function is not None:
            batch = torch.arange(self.batch, device=self.device)[:, None, None, None]
            head = torch.zeros(1, 1, 1, 1, dtype=torch.long, device=self.device)
            parts.append(self.function(batch, head, at_q + self.q_start, at_k + self.k_start))
        if self.keys is not None:
            parts.append(pick(self.keys_by_head[:, :, None], cols))
        if self.table is not None:
            table = pick(self.table[:, :, rows[0] : rows[1]], cols)
            parts.append(table if table.dtype == torch.bool else table > torch.finfo(table.dtype).min / 2)
        if not parts:
            return None
        result = parts[0]
        for part in parts[1:]:
            result = result & part
        return result

    def added(self, rows: Span, cols: Span | Tensor) -> Tensor | None:
        """Return what the host adds to the scores of `rows` and `cols`, broadcastable to [batch, head, row, col]."""
        if self.table is None or self.table.dtype == torch.bool:
            return None
        return pick(self.table[:, :, rows[0] : rows[1]], cols)

    def dead(self) -> Tensor | None:
        """Return the queries that see no key, bool [batch or 1, head or 1, query]; None if there are none by construction."""
        if self.plain:
            if self.keys is None:
                if not self.causal or self.offset >= 0:
                    return None
                return (torch.arange(self.q_len, device=self.device) + self.offset < 0)[None, None]
            keys = self.keys_by_head
            any_key = keys.any(-1, keepdim=True)
            if not self.causal:
                return (~any_key).expand(-1, -1, self.q_len)
            first = keys.int().argmax(-1, keepdim=True)
            return ~any_key | (torch.arange(self.q_len, device=self.device) + self.offset < first)
        return torch.cat([~self._dense(rows).any(-1) for rows in self._blocks()], dim=2)

    def visible(self, queries: Tensor) -> Tensor:
        """Count the queries that can see each key: queries [batch, query] bool, result [batch, head or 1, key] float32."""
        weight = queries.float()
        if self.plain:
            if self.causal:
                # Key j is seen by the queries i >= j - offset: the total less those before.
                before = torch.nn.functional.pad(weight.cumsum(-1), (1, 0))
                first = (torch.arange(self.k_len, device=self.device) - self.offset).clamp(0, self.q_len)
                count = before[:, -1:] - before[:, first]
            else:
                count = weight.sum(-1, keepdim=True).expand(-1, self.k_len)
            return count[:, None] if self.keys is None else count[:, None] * self.keys_by_head
        heads = 1 if self.table is None else self.table.shape[1]
        if self.keys is not None:
            heads = max(heads, self.keys_by_head.shape[1])
        total = weight.new_zeros(self.batch, heads, self.k_len)
        for rows in self._blocks():
            lo, hi = self.span(rows)
            total[..., lo:hi] += torch.einsum("bq,bhqk->bhk", weight[:, rows[0] : rows[1]], self._dense(rows).float())
        return total

    def select(self, heads: Tensor | None, queries: slice) -> "Mask":
        """Return the mask of some heads (indices; None for all) and of a range of queries."""
        start, stop, _ = queries.indices(self.q_len)
        table = self.table
        if table is not None:
            table = table[:, :, start:stop]
            if heads is not None and table.shape[1] > 1:
                table = table[:, heads]
        keys = self.keys
        if keys is not None and keys.ndim == 3 and heads is not None and keys.shape[1] > 1:
            keys = keys[:, heads]
        return replace(
            self, q_len=stop - start, offset=self.offset + start, q_start=self.q_start + start, keys=keys, table=table
        )

    def narrow(self, cols: Span) -> "Mask":
        """Return the mask over a range of keys."""
        lo, hi = cols
        return replace(
            self,
            k_len=hi - lo,
            offset=self.offset - lo,
            k_start=self.k_start + lo,
            keys=None if self.keys is None else self.keys[..., lo:hi],
            table=None if self.table is None else self.table[..., lo:hi],
        )

    def _columns(self, cols: Span | Tensor) -> Tensor:
        if isinstance(cols, tuple):
            return torch.arange(cols[0], cols[1], device=self.device)[None, None, None, :]
        return cols[:, None, None, :]

    def _blocks(self, elements: int = 1 << 22) -> list[Span]:
        step = max(1, elements // max(1, self.k_len * self.batch))
        return [(start, min(start + step, self.q_len)) for start in range(0, self.q_len, step)]

    def _dense(self, rows: Span) -> Tensor:
        """Return what `rows` may see of their span, [batch or 1, head or 1, row, col] bool."""
        lo, hi = self.span(rows)
        allowed = self.allowed(rows, (lo, hi))
        if allowed is None:
            return torch.ones(1, 1, rows[1] - rows[0], hi - lo, dtype=torch.bool, device=self.device)
        return allowed.expand(-1, -1, rows[1] - rows[0], hi - lo)
