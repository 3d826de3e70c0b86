"""Which tokens get most."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.call import Call
from ..core.reduce import Keep
from ..core.terms import Col, Term


@dataclass(frozen=True)
class TopKeys:
    """The k keys that a set of queries gives most weight to, kept per text: [layer, head, rank, entry].

    The two entries are the key's position, counted without padding, and the weight that it gets from the mean query of
    the set. `queries` is "all", "last" for the last one of each text, or a segment's name. NaN where fewer keys get
    anything.
    """

    k: int = 5
    queries: str = "all"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head", "rank", "entry")

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k counts keys from 1, not {self.k}")

    @property
    def name(self) -> str:
        """Key of the result, with the queries unless they are all."""
        return "top_keys" if self.queries == "all" else f"top_keys[{self.queries}]"

    def reducer(self) -> Keep:
        """Keep texts apart: the same position is another token in another text."""
        return Keep()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the column sums over the chosen queries."""
        chosen = call.live & self._chosen(call)[:, None]
        given = (
            call.received if self.queries == "all" else Col(chosen.to(call.op.work_dtype).expand(call.op.batch, -1, -1))
        )
        got = yield {"received": given}
        weights = got["received"] / chosen.sum(-1, keepdim=True).clamp_min(1)
        top = weights.topk(min(self.k, call.op.k_len), -1)
        positions = call.kpos[:, None].expand_as(weights).gather(-1, top.indices)
        entries = torch.stack([positions.to(weights.dtype), top.values], -1)
        entries = entries.masked_fill((top.values <= 0)[..., None], torch.nan)
        missing = self.k - entries.shape[2]
        return torch.nn.functional.pad(entries, (0, 0, 0, missing), value=torch.nan)

    def _chosen(self, call: Call) -> Tensor:
        match self.queries:
            case "all":
                return call.qpos >= 0
            case "last":
                return (call.qpos == call.qpos.amax(-1, keepdim=True)) & (call.qpos >= 0)
        return call.queries(self.queries)
