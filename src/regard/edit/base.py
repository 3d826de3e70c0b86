"""What all edits have in common: they say where they act, and they are data."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core.call import Call
from ..core.effects import Effect, Stage
from ..core.protocols import Causality, Terms
from ..core.where import Phase, Role, Where


@dataclass(frozen=True, kw_only=True, eq=False)
class BaseEdit:
    """An edit and where it acts; `heads` to `examples` are as in `Where`, and each narrows it.

    A subclass gives `stage`, `causality` and `plan`, and is found by its name when an edit is loaded from JSON.
    """

    heads: Sequence[tuple[int, int]] | None = None
    layers: Sequence[int] | None = None
    phase: Phase = "both"
    queries: str = "all"
    since: tuple[str, int] | None = None
    part: str | None = None
    role: Role | None = "self"
    examples: Sequence[int] | None = None
    stage: ClassVar[Stage]
    causality: ClassVar[Causality] = "row"
    kinds: ClassVar[dict[str, type["BaseEdit"]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        BaseEdit.kinds[cls.__name__] = cls

    @property
    def where(self) -> Where:
        """Sites, heads and rows."""
        return Where(self.heads, self.layers, self.phase, self.queries, self.since, self.part, self.role, self.examples)

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        """Yield terms about the selected heads and rows, receive their answers, return an effect of that shape.

        None means that the call has nothing of what the edit names: an edit that meets with nothing else changed nothing.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        told = []
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                told.append(f"{field.name}=tensor {list(value.shape)}")
            elif value != field.default:
                told.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(told)})"


def places(heads: Sequence[tuple[int, int]], call: Call) -> list[int]:
    """Return where the heads of a call's layer stand in a list of (layer, head) pairs, heads ascending."""
    mine = {head: place for place, (layer, head) in enumerate(heads) if layer == call.site.layer}
    return [mine[head] for head in sorted(mine)]


def check_pairs(values: Tensor, heads: Sequence[tuple[int, int]], axes: str) -> None:
    """Raise ValueError unless values have the named axes, `pair` with one entry per (layer, head) pair."""
    names = axes.split(", ")
    if values.ndim != len(names) or values.shape[names.index("pair")] != len(heads):
        raise ValueError(f"expected [{axes}] with {len(heads)} (layer, head) pairs, found {list(values.shape)}")


def of_queries(values: Tensor, call: Call) -> tuple[Tensor, Tensor] | None:
    """Cut values [example or 1, head, token, ...] of a run, whose tokens count from its first one, to the queries of a call.

    Returns [batch or 1, head, query, ...], 0 behind the last token, and which queries have a value, [1, 1, query] bool; None if
    none has. Raises ValueError for values of another number of examples.
    """
    values = call.of_examples(values)
    there = min(max(values.shape[2] - call.q_index, 0), call.op.q_len)
    if there == 0:
        return None
    rows = values[:, :, call.q_index : call.q_index + there].to(call.q.device)
    rows = torch.nn.functional.pad(rows, (*[0, 0] * (values.ndim - 3), 0, call.op.q_len - there))
    return rows, (torch.arange(call.op.q_len, device=call.q.device) < there)[None, None]
