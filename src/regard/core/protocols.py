"""What a method is to the core: a statistic or an edit, each a small generator that yields terms and receives tensors."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from .call import Call, Site
from .effects import Effect, Stage
from .mask import Span
from .reduce import Reducer
from .terms import Term

Terms = Mapping[str, Term]
Causality = Literal["row", "prefix", "sequence"]


class Statistic(Protocol):
    """A number about attention: one value per example and head, reduced over examples and batches by `reducer`.

    `axes` name the axes of the result; the first is "layer". A threshold inside `plan` comes before the mean over
    examples.
    """

    @property
    def name(self) -> str:
        """Key of the result."""

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes of the result, "layer" first."""

    def reducer(self) -> Reducer:
        """Return an empty reducer."""

    def plan(self, call: Call) -> Generator[Terms, dict[str, Any], Tensor]:
        """Yield terms, receive their answers, return [batch, ...]."""


@dataclass(frozen=True)
class Where:
    """Where an edit acts; every field narrows it.

    `heads` are (layer, head) pairs; `layers` whole layers; `phase` "prefill" means the rows of the prompt, "decode"
    those after it; `queries` "last" only the last row of each pass. `part` is a part of the model (vision, audio, encoder,
    decoder, main); None means the one that writes the output: the language model of a vision-language model, the decoder
    of an encoder-decoder. `role` None means self- and cross-attention alike.
    """

    heads: Sequence[tuple[int, int]] | None = None
    layers: tuple[int, ...] | None = None
    phase: Literal["prefill", "decode", "both"] = "both"
    queries: Literal["all", "last"] = "all"
    part: str | None = None
    role: Literal["self", "cross"] | None = "self"

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

    def rows_of(self, call: Call) -> Span:
        """Return the range of queries of a call that is meant; empty if there are none."""
        start, stop = 0, call.op.q_len
        prompt = min(max(call.session.prompt - call.q_index, 0), stop)
        if self.phase == "prefill":
            stop = prompt
        elif self.phase == "decode":
            start = prompt
        return (max(start, stop - 1), stop) if self.queries == "last" else (start, stop)

    def select(self, call: Call) -> tuple[Tensor | None, Span] | None:
        """Return heads (None for all) and rows of the call that are meant; None if nothing is."""
        heads, rows = self.heads_at(call.site), self.rows_of(call)
        if not heads or rows[0] >= rows[1]:
            return None
        return (None if len(heads) == call.site.heads else torch.tensor(heads, device=call.q.device)), rows


class Edit(Protocol):
    """A change of attention: plans one effect per call, for the heads and rows that `where` chooses.

    `causality` says whether an edited row depends on itself only ("row": prefill and cached decoding equal
    recomputation), on the rows before it ("prefix") or on the whole sequence. `state` is the edit's own for this site
    and run.
    """

    @property
    def where(self) -> Where:
        """Sites, heads and rows."""

    @property
    def stage(self) -> Stage:
        """What the effect changes."""

    @property
    def causality(self) -> Causality:
        """What an edited row depends on."""

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        """Yield terms about the selected heads and rows, receive their answers, return an effect of that shape or None."""
