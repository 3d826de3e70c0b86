"""What edits mean, on full maps: each edit's own plan, its questions answered from the maps that the edits before it left."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from regard.core import dense
from regard.core.call import Call
from regard.core.effects import STAGES, Effect, ScoreEffect, WeightEffect
from regard.core.effects.inputs import InputEffect
from regard.core.effects.outputs import OutputEffect
from regard.core.operands import Operands
from regard.core.protocols import Edit
from regard.core.terms import Block
from regard.core.where import Selection


def oracle(call: Call, *edits: Edit, states: dict[Edit, dict[str, Any]] | None = None) -> dense.Maps:
    """Return the maps of a call after edits, run by stage and then in the order given, in the precision of the call."""
    states = {} if states is None else states
    done: list[Effect] = []
    for edit in sorted(edits, key=lambda edit: STAGES.index(edit.stage)):
        selection = edit.where.select(call)
        if selection is None:
            continue
        at = _Place.of(selection, call.op)
        maps = at.maps(dense.maps(call.op, done))
        plan = edit.plan(call.select(selection.heads, selection.rows), states.setdefault(edit, {}))
        try:
            asked = next(plan)
            while True:
                asked = plan.send({name: dense.answer(maps, term) for name, term in asked.items()})
        except StopIteration as stop:
            effect = stop.value
        if effect is not None:
            effect = effect if selection.only is None else effect.only(selection.only[:, None])
            done.append(_INSIDE[effect.stage](effect, at))
    return dense.maps(call.op, done)


@dataclass(frozen=True)
class _Place:
    """Some heads and rows of a whole."""

    heads: Tensor
    rows: slice

    @classmethod
    def of(cls, selection: Selection, op: Operands) -> "_Place":
        heads = torch.arange(op.heads) if selection.heads is None else selection.heads
        return cls(heads, slice(*selection.rows))

    def take(self, whole: Tensor) -> Tensor:
        return whole[:, self.heads, self.rows]

    def put(self, new: Tensor, whole: Tensor) -> Tensor:
        result = whole.clone()
        result[:, self.heads, self.rows] = new
        return result

    def block(self, block: Block) -> Block:
        rows = range(*block.rows)[self.rows]
        return block._replace(rows=(0, len(rows)), seen=None if block.seen is None else self.take(block.seen))

    def maps(self, m: dense.Maps) -> dense.Maps:
        """Cut all maps."""
        cut = {name: self.take(getattr(m, name)) for name in ("scores", "seen", "lse", "weights", "out")}
        return replace(m, op=m.op.select(self.heads, self.rows), v=m.v[:, self.heads], **cut)


class _Inputs(InputEffect):
    def __init__(self, effect: InputEffect, at: _Place) -> None:
        self.effect, self.at = effect, at

    def on_operands(self, op: Operands) -> Operands:
        new = self.effect.on_operands(op.select(self.at.heads, self.at.rows))
        return replace(op, q=self.at.put(new.q, op.q))


class _Scores(ScoreEffect):
    def __init__(self, effect: ScoreEffect, at: _Place) -> None:
        self.effect, self.at = effect, at

    def on_scores(self, scores: Tensor, block: Block) -> Tensor:
        return self.at.put(self.effect.on_scores(self.at.take(scores), self.at.block(block)), scores)


class _Weights(WeightEffect):
    def __init__(self, effect: WeightEffect, at: _Place) -> None:
        self.effect, self.at = effect, at

    def on_weights(self, weights: Tensor, block: Block) -> Tensor:
        return self.at.put(self.effect.on_weights(self.at.take(weights), self.at.block(block)), weights)

    def on_extra(self, extra: Tensor, weights: Tensor, block: Block) -> Tensor:
        take = self.at.take
        return self.at.put(self.effect.on_extra(take(extra), take(weights), self.at.block(block)), extra)


class _Outputs(OutputEffect):
    def __init__(self, effect: OutputEffect, at: _Place) -> None:
        self.effect, self.at = effect, at

    def on_output(self, out: Tensor) -> Tensor:
        return self.at.put(self.effect.on_output(self.at.take(out)), out)


_INSIDE: dict[str, Any] = {"inputs": _Inputs, "scores": _Scores, "weights": _Weights, "outputs": _Outputs}
