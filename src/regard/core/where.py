"""Where an edit acts: which sites, heads, examples and rows of the attention."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .call import Call, Site
from .mask import Span

Phase = Literal["prefill", "decode", "both"]
Role = Literal["self", "cross"]


@dataclass(frozen=True, eq=False)
class Selection:
    """A rectangle of a call: heads (ascending indices, None for all) and a range of rows.

    `only` [batch, row] says which of them are meant, None for all.
    """

    heads: Tensor | None
    rows: Span
    only: Tensor | None = None


@dataclass(frozen=True)
class Where:
    """Where an edit acts; every field narrows it.

    `heads` are (layer, head) pairs; `layers` whole layers; `examples` are those of the batch, with all their beams or
    samples. `part` is a part of the model (vision,
    audio, encoder, decoder, main); None means the one that writes the output: the language model of a vision-language model,
    the decoder of an encoder-decoder. `role` None means self- and cross-attention alike.

    Rows are told by their place in the run, however many a pass has. `phase` "prefill" means those of the prompt, "decode"
    those after it. `queries` "last" means the last real row of each pass; any name but "all" and "last" is a segment of
    tokens. `since` is a mark and an offset: rows from there on, as in ("prompt_end", -1), the end of the prompt and every row
    after it. A mark is "prompt_end", or a segment's name for the place behind its last token.
    """

    heads: Sequence[tuple[int, int]] | None = None
    layers: Sequence[int] | None = None
    phase: Phase = "both"
    queries: str = "all"
    since: tuple[str, int] | None = None
    part: str | None = None
    role: Role | None = "self"
    examples: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.phase not in ("prefill", "decode", "both"):
            raise ValueError(f"phase is prefill, decode or both, not {self.phase!r}")
        if self.role not in ("self", "cross", None):
            raise ValueError(f"role is self, cross or None, not {self.role!r}")

    def at(self, site: Site) -> bool:
        """Say whether a site is in the part and has the role that is meant."""
        part = site.main if self.part is None else site.part == self.part
        return part and self.role in (None, site.role)

    def heads_at(self, site: Site) -> list[int]:
        """Return the chosen heads of a site, ascending.

        Raises IndexError for a head that the site does not have.
        """
        if not self.at(site) or (self.layers is not None and site.layer not in self.layers):
            return []
        if self.heads is None:
            return list(range(site.heads))
        chosen = sorted({head for layer, head in self.heads if layer == site.layer})
        wrong = [head for head in chosen if not 0 <= head < site.heads]
        if wrong:
            raise IndexError(
                f"{site} has heads 0 to {site.heads - 1}, and the edit names head {wrong[0]} of layer {site.layer}"
            )
        return chosen

    def select(self, call: Call) -> Selection | None:
        """Return the heads and rows of a call that are meant; None if nothing is."""
        heads = self.heads_at(call.site)
        if not heads:
            return None
        rows, only = self._rows(call)
        if rows[0] >= rows[1]:
            return None
        chosen = None if len(heads) == call.site.heads else torch.tensor(heads, device=call.q.device)
        return Selection(chosen, rows, only)

    def _rows(self, call: Call) -> tuple[Span, Tensor | None]:
        """Return the smallest range of rows that holds all that are meant, and which of them are, [batch, row]; None for all."""
        start, stop = 0, call.op.q_len
        prompt = min(max(call.session.prompt - call.q_index, 0), stop)
        start, stop = (
            (0, prompt) if self.phase == "prefill" else (prompt, stop) if self.phase == "decode" else (0, stop)
        )
        gaps: list[Tensor] = []
        if self.since is not None:
            mark = call.mark(self.since[0])
            if isinstance(mark, int):
                start = max(start, mark + self.since[1] - call.q_index)
            else:
                index = torch.arange(call.op.q_len, device=call.q.device) + call.q_index
                gaps.append(index >= mark.to(call.q.device)[:, None] + self.since[1])
        if self.queries == "last":
            gaps.append((call.qpos == call.qpos.amax(-1, keepdim=True)) & (call.qpos >= 0))
        elif self.queries != "all":
            gaps.append(call.queries(self.queries))
        if self.examples is not None:
            there = int(call.examples.max()) + 1
            wrong = [one for one in self.examples if not 0 <= one < there]
            if wrong:
                raise IndexError(f"the edit names example {wrong[0]}, and the batch has {there}")
            chosen = torch.isin(call.examples, torch.tensor(list(self.examples), device=call.q.device))[:, None]
            gaps.append(chosen.expand(-1, call.op.q_len))
        if not gaps or start >= stop:
            return (start, stop), None
        meant = torch.stack([gap.expand(call.op.batch, call.op.q_len) for gap in gaps]).all(0)[:, start:stop]
        some = meant.any(0).nonzero()
        if not len(some):
            return (start, start), None
        first, last = int(some[0]), int(some[-1]) + 1
        meant = meant[:, first:last]
        return (start + first, start + last), None if bool(meant.all()) else meant
