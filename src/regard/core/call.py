"""One attention call as methods see it: the numbers, where they come from, and which tokens they are about."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .mask import Span
from .operands import Operands
from .session import Session
from .terms import Col

if TYPE_CHECKING:
    from .protocols import Edit


@dataclass(frozen=True)
class Site:
    """One use of an attention module in a forward pass.

    `path` is the module's name in the model and `use` counts its uses within one pass; `layer` is None where the model
    does not number it; `role` is "self" or "cross"; `tier` names how the host reaches it and `gives` what it hands
    over.
    """

    path: str
    use: int
    layer: int
    role: str
    heads: int
    kv_heads: int
    tier: str
    gives: frozenset[str]
    part: str = "main"
    main: bool = True

    def __str__(self) -> str:
        return self.path if self.use == 0 else f"{self.path} (use {self.use + 1})"


def _no_input() -> Tensor:
    raise ValueError("this call comes without the input of its module")


@dataclass(frozen=True, eq=False)
class Call:
    """One attention call.

    Shapes: qpos [batch, query] and kpos [batch, key] are positions in the run, counted without padding, -1 for padding;
    `q_index` and `k_index` are the run's indices of the first query and the first key, padding included. `host`
    computes the host's own output [batch, head, query, value_dim], with its own kernel and only if asked. `x` is what the module
    is given, `resid` the residual stream where its block begins, before any norm, both [batch, query, width]. `design` is
    what the host's attention does beyond a softmax of scores, as edits: they come before all others of their stages, and
    statistics are of the attention that they leave.
    """

    site: Site
    op: Operands
    qpos: Tensor
    kpos: Tensor
    q_index: int
    k_index: int
    session: Session
    host: Callable[[], Tensor]
    x: Callable[[], Tensor] = _no_input
    resid: Callable[[], Tensor] = _no_input
    heads: Tensor | None = None
    design: "Sequence[Edit]" = ()

    @property
    def q(self) -> Tensor:
        """Queries [batch, head, query, dim]."""
        return self.op.q

    @property
    def k(self) -> Tensor:
        """Keys [batch, kv_head, key, dim]."""
        return self.op.k

    @property
    def v(self) -> Tensor:
        """Values [batch, kv_head, key, value_dim]."""
        return self.op.v

    @cached_property
    def head_numbers(self) -> Tensor:
        """The site's numbers of the call's heads, [head], for what an edit has per head."""
        return torch.arange(self.op.heads, device=self.q.device) if self.heads is None else self.heads

    @cached_property
    def examples(self) -> Tensor:
        """Which example each row of the batch belongs to, [batch]: a generation may give an example several rows."""
        known = self.session.examples
        if known is None or len(known) != self.op.batch:
            return torch.arange(self.op.batch, device=self.q.device)
        return known.to(self.q.device)

    def of_examples(self, values: Tensor) -> Tensor:
        """Give each row of the batch what its example has: values [example or 1, ...], result [batch or 1, ...].

        Raises ValueError for values of another number of examples.
        """
        examples = self.examples
        if values.shape[0] == 1:
            return values
        if values.shape[0] != int(examples.max()) + 1:
            raise ValueError(
                f"values for {values.shape[0]} examples do not fit the {int(examples.max()) + 1} of a batch at {self.site}"
            )
        return values if self.session.examples is None else values[examples.to(values.device)]

    @cached_property
    def live(self) -> Tensor:
        """The queries that count, [batch, head or 1, query] bool: not padding, and seeing at least one key."""
        live = (self.qpos >= 0)[:, None]
        dead = self.op.mask.dead()
        return live if dead is None else live & ~dead

    @cached_property
    def received(self) -> Col:
        """The attention that live queries give to each key: one term, shared by all that ask for it."""
        return Col(self.live.to(self.op.work_dtype).expand(self.op.batch, -1, -1))

    @cached_property
    def visible(self) -> Tensor:
        """How many live queries can see each key, [batch, head or 1, key]."""
        return self.op.mask.visible((self.qpos >= 0) & self.live.any(1))

    def mean(self, values: Tensor) -> Tensor:
        """Average [batch, head, query, ...] over the live queries: [batch, head, ...]; NaN for an example that has none."""
        live = self.live.expand(*values.shape[:3]).reshape(*values.shape[:3], *[1] * (values.ndim - 3))
        return torch.where(live, values, 0.0).sum(2) / live.sum(2)

    def keys(self, segment: str) -> Tensor:
        """Return which keys are in a named segment, [batch, key] bool.

        `first` (the first token that is not padding), `rest` (all others) and `all` are always there; the rest come from the
        run. Raises KeyError for a name that is not known.
        """
        match segment:
            case "first":
                return self.kpos == 0
            case "rest":
                return self.kpos > 0
            case "all":
                return self.kpos >= 0
        if self.session.segments is None:
            raise KeyError(
                f"no segment {segment!r} at {self.site}: the run has no tokens known; there are first, rest, all"
            )
        return self.session.segments.keys(segment, self)

    def queries(self, segment: str) -> Tensor:
        """Return which queries are tokens of a named segment, [batch, query] bool.

        Raises ValueError for cross-attention, whose segments are of the keys' sequence.
        """
        if self.site.role == "cross":
            raise ValueError(
                f"the queries of {self.site} are tokens of another sequence than its keys, where segments are"
            )
        start = self.q_index - self.k_index
        return self.keys(segment)[:, start : start + self.op.q_len]

    def mark(self, name: str) -> int | Tensor:
        """Return a place in the run, padding included: an index, or one per example, [batch].

        It is "prompt_end", or a segment's name for the place behind its last token.
        """
        if name == "prompt_end":
            return self.session.prompt_end
        index = torch.arange(self.op.k_len, device=self.kpos.device) + self.k_index + 1
        return torch.where(self.keys(name), index, 0).amax(-1)

    def select(self, heads: Tensor | None, queries: Span) -> "Call":
        """Return the call of some heads (indices; None for all) and a range of queries."""
        span = slice(*queries)

        def host() -> Tensor:
            out = self.host()[:, :, span]
            return out if heads is None else out[:, heads]

        return replace(
            self,
            op=self.op.select(heads, span),
            qpos=self.qpos[:, span],
            q_index=self.q_index + queries[0],
            host=host,
            x=lambda: self.x()[:, span],
            resid=lambda: self.resid()[:, span],
            heads=self.heads if heads is None else self.head_numbers[heads],
        )
