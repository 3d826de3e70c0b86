"""Calls, statistics and edits that only tests need."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from regard.core.attend import attend
from regard.core.call import Call, Site
from regard.core.effects import Effect, Stage
from regard.core.mask import Mask
from regard.core.operands import Operands
from regard.core.protocols import Causality, Where
from regard.core.reduce import Moments
from regard.core.session import Session
from regard.core.terms import Term


def probe(keys: int) -> Tensor:
    """Return two functionals of the keys, [key, 2]."""
    return torch.stack([torch.ones(keys), torch.arange(keys) / keys], -1)


def call_of(op: Operands | None = None, padded: int = 0, session: Session | None = None, layer: int = 0) -> Call:
    """Return a call of an attention: by default causal, 2 examples, 4 heads in 2 groups, 9 queries, 11 keys.

    The first example has `padded` masked keys on its left.
    """
    if op is None:
        keys = torch.arange(11) >= torch.tensor([[padded], [0]])
        mask = Mask(2, 9, 11, torch.device("cpu"), causal=True, offset=2, keys=keys)
        q, k, v = torch.randn(2, 4, 9, 8), torch.randn(2, 2, 11, 8), torch.randn(2, 2, 11, 8)
        op = Operands(q, k, v, mask, 8**-0.5)
    kpos = (torch.arange(op.k_len) - padded * (torch.arange(op.batch) == 0)[:, None]).clamp_min(-1)
    site = Site(f"layers.{layer}", 0, layer, "self", op.heads, op.k.shape[1], "test", frozenset())
    qpos = torch.arange(op.q_len).expand(op.batch, -1)
    host = attend(op)[0]
    return Call(site, op, qpos, kpos, 0, 0, session or Session(prompt=op.q_len), lambda: host)


@dataclass
class Asking:
    """A statistic that asks one round of terms after the other and keeps what it hears."""

    name: str
    rounds: Sequence[Mapping[str, Term]]
    heard: list[dict[str, Any]] = field(default_factory=list)
    axes: tuple[str, ...] = ("layer", "head")

    def reducer(self) -> Moments:
        return Moments()

    def plan(self, call: Call) -> Generator[Mapping[str, Term], Mapping[str, Any], Tensor]:
        for one in self.rounds:
            got = yield one
            self.heard.append(dict(got))
        return torch.full((call.op.batch, call.op.heads), float(len(self.heard)))


@dataclass(eq=False)
class Doing:
    """An edit that asks one term, notes what it was given and how often it was here in this run, and returns an effect."""

    effect: Effect | None
    stage: Stage = "weights"
    where: Where = field(default_factory=Where)
    asks: Term | None = None
    causality: Causality = "row"
    shapes: list[torch.Size] = field(default_factory=list)
    heard: list[Any] = field(default_factory=list)
    passes: list[int] = field(default_factory=list)

    def plan(
        self, call: Call, state: dict[str, Any]
    ) -> Generator[Mapping[str, Term], Mapping[str, Any], Effect | None]:
        state["passes"] = state.get("passes", 0) + 1
        self.passes.append(state["passes"])
        self.shapes.append(call.q.shape)
        got = yield {} if self.asks is None else {"x": self.asks}
        self.heard.append(got.get("x"))
        return self.effect
