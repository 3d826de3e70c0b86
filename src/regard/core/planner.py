"""Runs the statistics and edits of one call together: all of a round's questions go into one packed execution."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from .attend import attend
from .call import Call
from .check import deviation
from .effects import STAGES, Effect
from .gives import refuse
from .patchwork import Patchwork
from .protocols import Edit, Statistic, Terms
from .terms import Col, Lse

Returned = TypeVar("Returned")


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a call came to: the edited output (None if the host's own stands), a value per statistic, the spot check's worst."""

    output: Tensor | None
    values: dict[str, Tensor]
    deviation: float
    applied: frozenset[int]


def run(call: Call, edits: Sequence[Edit] = (), statistics: Sequence[Statistic] = (), check: bool = False) -> Outcome:
    """Apply edits, by stage and then in the order given, and measure the attention that they leave.

    With `check` a few rows and all column totals are computed again, densely in float64. `applied` holds the indices of
    the edits that changed something here.
    """
    patchwork, applied = edited(call, edits)
    values, deviation = measured(call, patchwork, statistics, check)
    return Outcome(output(call, patchwork, applied), values, deviation, applied)


Told = Callable[[int, Effect, Patchwork, int], None]
"""Is told what an edit, by its index, comes to at a call: its effect, what it meets, and on how many rows it acts."""


def edited(call: Call, edits: Sequence[Edit], told: Told | None = None) -> tuple[Patchwork, frozenset[int]]:
    """Return the attention that edits leave, and the indices of those that met a head, a row and what they name here.

    The edits of the call's own design are not among these.
    """
    # The host's output has the design's changes in it already, so that these begin from plain attention.
    patchwork = Patchwork.of(call.op, (lambda: attend(call.op)[0]) if call.design else call.host)
    applied = set()
    every = enumerate([*call.design, *edits], -len(call.design))
    for index, edit in sorted(every, key=lambda pair: STAGES.index(pair[1].stage)):
        selection = edit.where.select(call)
        if selection is None:
            continue
        heads, rows = selection.heads, selection.rows
        state = call.session.state(edit, call.site)
        met = patchwork.select(heads, rows)
        effect = together({"": edit.plan(call.select(heads, rows), state)}, met)[""]
        if effect is None:  # the call has nothing of what the edit names
            continue
        refuse(effect, call.site)
        if index >= 0:
            applied.add(index)
        if selection.only is not None:
            effect = effect.only(selection.only[:, None])
        patchwork = patchwork.apply(effect, heads, rows)
        if told is not None and index >= 0:
            chosen = rows[1] - rows[0] if selection.only is None else int(selection.only.any(0).sum())
            told(index, effect, met, chosen)
    return patchwork, frozenset(applied)


def output(call: Call, patchwork: Patchwork, applied: frozenset[int]) -> Tensor | None:
    """Return the output [batch, head, query, value_dim] that edits leave, None where the host's own stands."""
    stands = not patchwork.changed or (call.design and not applied)
    return None if stands else patchwork.output(call.host)


def measured(
    call: Call, patchwork: Patchwork, statistics: Sequence[Statistic], check: bool = False
) -> tuple[dict[str, Tensor], float]:
    """Return a value per statistic of the attention that edits have left, and the worst deviation of the spot check."""
    worst = _Worst(patchwork, call.live) if check else None
    values = together({s.name: s.plan(call) for s in statistics}, patchwork, worst)
    return values, worst.deviation if worst else 0.0


class _Worst:
    """Collects the spot check's worst deviation over the rounds of one call."""

    def __init__(self, patchwork: Patchwork, live: Tensor) -> None:
        self.patchwork = patchwork
        self.live = live
        self.lse = Lse()  # columns are checked by it, and their own answer needs it anyway
        self.deviation = 0.0

    def __call__(self, terms: Sequence[Any], answers: Sequence[Any]) -> None:
        self.deviation = max(self.deviation, deviation(self.patchwork, self.live, terms, answers))


def together(
    plans: Mapping[str, Generator[Terms, dict[str, Any], Returned]],
    patchwork: Patchwork,
    check: _Worst | None = None,
) -> dict[str, Returned]:
    """Advance generators in lockstep, one execution per round, until each has returned its value."""
    values: dict[str, Returned] = {}
    replies: dict[str, dict[str, Any] | None] = dict.fromkeys(plans)
    while replies:
        asked: dict[str, Terms] = {}
        for name, reply in replies.items():
            try:
                asked[name] = next(plans[name]) if reply is None else plans[name].send(reply)
            except StopIteration as stop:
                values[name] = stop.value
        terms = [term for one in asked.values() for term in one.values()]
        if check is not None and any(isinstance(term, Col) for term in terms):
            terms.append(check.lse)
        answers = patchwork.answer(terms)
        if check is not None and terms:
            check(terms, answers)
        stream = iter(answers)
        replies = {name: {key: next(stream) for key in one} for name, one in asked.items()}
    return values
