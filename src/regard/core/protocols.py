"""What a method is to the core: a statistic or an edit, each a small generator that yields terms and receives tensors."""

from collections.abc import Generator, Mapping
from typing import Any, Literal, Protocol

from torch import Tensor

from .call import Call
from .effects import Effect, Stage
from .reduce import Reducer
from .terms import Term
from .where import Where

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


class Edit(Protocol):
    """A change of attention: plans one effect per call, for the heads and rows that `where` chooses.

    `causality` says whether an edited row depends on itself only ("row": prefill and cached decoding equal
    recomputation), on the rows before it ("prefix") or on the whole sequence. `state` is the edit's own for this site
    and run; an edit that has `crop(state, tokens)` is told when a run takes back its tokens from an index on.
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
