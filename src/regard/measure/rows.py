"""What statistics share about the rows of a call: their mass, the keys that they reach, the mean over some of them."""

import torch
from torch import Tensor

from ..core.call import Call
from ..core.mask import Span
from ..core.terms import Row

BLOCK_ELEMENTS = 1 << 22
"""Entries of a mask that are dense at once."""


def mass(call: Call) -> Row:
    """Ask for the mass of every row, [batch, head, query, 1]: below 1 where sink logits or extra keys take some."""
    return Row(torch.ones(call.op.k_len, 1, dtype=call.op.work_dtype, device=call.q.device))


def reach(call: Call) -> Tensor:
    """Count the keys that each query can see, [batch or 1, head or 1, query] int."""
    mask = call.op.mask
    every: Span = (0, mask.k_len)
    if mask.plain:
        keys = torch.ones(1, mask.k_len, dtype=torch.bool, device=mask.device) if mask.keys is None else mask.keys
        count = torch.nn.functional.pad((keys if keys.ndim == 3 else keys[:, None]).long(), (1, 0)).cumsum(-1)
        if not mask.causal:
            return count[..., -1:].expand(-1, -1, mask.q_len)
        last = torch.arange(mask.q_len, device=mask.device) + mask.offset + 1
        return count[..., last.clamp(0, mask.k_len)]
    step = max(1, BLOCK_ELEMENTS // (mask.k_len * mask.batch))
    counts = []
    for start in range(0, mask.q_len, step):
        rows = (start, min(start + step, mask.q_len))
        allowed = mask.allowed(rows, every)
        assert allowed is not None  # a function or a table is there
        counts.append(allowed.expand(-1, -1, rows[1] - rows[0], mask.k_len).sum(-1))
    return torch.cat(counts, 2)


def average(values: Tensor, rows: Tensor) -> Tensor:
    """Average values [batch, head, query] over some rows, bool [batch, head or 1, query]: [batch, head]; NaN without any."""
    rows = rows.expand_as(values)
    return torch.where(rows, values, 0.0).sum(-1) / rows.sum(-1)


def root(squares: Tensor) -> Tensor:
    """Take the square root, with gradient 0 instead of infinity where there is nothing to take it of."""
    nothing = squares <= 0
    return torch.where(nothing, 0.0, torch.where(nothing, 1.0, squares).sqrt())
