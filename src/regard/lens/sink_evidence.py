"""What attention shows of each token as a sink: its weight, that of the first tokens, its key and its value."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.call import Call
from ..core.mask import Mask
from ..core.reduce import Keep
from ..core.terms import Row, Term

BLOCK_ELEMENTS = 1 << 22


@dataclass(frozen=True)
class SinkEvidence:
    """Evidence of each key, kept per text: [layer, head, key, entry], NaN for padding.

    The entries are the mean weight that it gets from the queries that see it, the norm of its key and of its value, the mean
    cosine of the queries that see it with its key, and then the mean weight that each of the first `candidates` tokens gets from
    the same queries. Norms and cosine are NaN where the host hands over no queries and keys.
    """

    candidates: int = 2
    name: ClassVar[str] = "sink_evidence"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head", "key", "entry")

    def reducer(self) -> Keep:
        """Keep texts apart: they differ in length."""
        return Keep()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the column sums, and for what each query gives to the first tokens."""
        first = torch.stack([call.kpos == place for place in range(self.candidates)], -1)
        got = yield {"received": call.received, "first": Row(first.to(call.op.work_dtype))}
        received = got["received"]
        seen = (call.visible * call.keys("all")[:, None])[..., None]
        entries = [received[..., None], *_vectors(call, received), over_seeing(call, got["first"])]
        totals = torch.cat([entries[0], entries[3], entries[4]], -1) / seen.clamp_min(1)
        found = torch.cat([totals[..., :1], entries[1], entries[2], totals[..., 1:]], -1)
        return torch.where(seen > 0, found, torch.nan)


def _vectors(call: Call, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return norms of keys and values, and the summed cosine of the queries that see a key, each [batch, head, key, 1]."""
    nothing = torch.full_like(like[..., None], torch.nan)
    if not {"q", "k"} <= call.site.gives:
        return nothing, nothing, nothing
    groups = call.op.heads // call.k.shape[1]
    key = call.k.to(like.dtype).repeat_interleave(groups, 1)
    query = torch.nn.functional.normalize(call.q.to(like.dtype), dim=-1)
    cosine = (over_seeing(call, query) * torch.nn.functional.normalize(key, dim=-1)).sum(-1, keepdim=True)
    value = nothing
    if "v" in call.site.gives:
        value = call.v.to(like.dtype).norm(dim=-1, keepdim=True).repeat_interleave(groups, 1)
    return key.norm(dim=-1, keepdim=True), value, cosine


def over_seeing(call: Call, values: Tensor) -> Tensor:
    """Sum values of queries [batch, head, query, entry] over the live ones that see each key: [batch, head, key, entry]."""
    mask = call.op.mask
    values = torch.where(call.live[..., None], values, 0.0)
    if not mask.plain:
        return _over_rows(mask, values)
    if not mask.causal:
        return values.sum(2, keepdim=True).expand(-1, -1, mask.k_len, -1)
    after = torch.nn.functional.pad(values.flip(2).cumsum(2).flip(2), (0, 0, 0, 1))
    first = (torch.arange(mask.k_len, device=values.device) - mask.offset).clamp(0, mask.q_len)
    return after[:, :, first]


def _over_rows(mask: Mask, values: Tensor) -> Tensor:
    batch, heads, _, entries = values.shape
    total = values.new_zeros(batch, heads, mask.k_len, entries)
    step = max(1, BLOCK_ELEMENTS // (mask.k_len * mask.batch))
    for start in range(0, mask.q_len, step):
        rows = (start, min(start + step, mask.q_len))
        allowed = mask.allowed(rows, (0, mask.k_len))
        assert allowed is not None  # a function or a table is there
        allowed = allowed.to(values.dtype).expand(batch, heads, -1, -1)
        total += allowed.transpose(-1, -2) @ values[:, :, slice(*rows)]
    return total
