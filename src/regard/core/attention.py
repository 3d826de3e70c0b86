"""An attention that answers terms and takes effects, and stays one that answers terms: what later edits and statistics see."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import ceil

from torch import Tensor

from . import blockwise, fused, rowwise
from .attend import attend
from .edited import changed_weights, kept
from .effects import STAGES, Effect, Output, Stage, WeightEffect
from .effects.inputs import InputEffect
from .effects.outputs import OutputEffect
from .effects.scores import ScoreEffect, SetScores
from .mask import Span
from .operands import Operands
from .parts import parts
from .terms import Answer, Attend, Attended, Col, Lse, Part, Row, Score, Term, Without

FUSED_CALLS = 1
"""Up to so many fused calls are no slower than one pass over blocks, which answers everything at once (`regard bench core`)."""


@dataclass(frozen=True, eq=False)
class Attention:
    """One attention in which all heads and queries have met the same effects.

    `output` gives its output [batch, head, query, value_dim]: the host's own until an effect changes it. Changes of
    inputs and scores are in `op`, changes of weights in `edits`, changes of outputs in `output`; `stage` is that of the
    last one. `made` is the last output that a method computed itself, behind which there are no weights.
    """

    op: Operands
    output: Callable[[], Tensor]
    edits: tuple[WeightEffect, ...] = ()
    stage: Stage | None = None
    made: Output | None = None
    known: dict[Term, Answer] = field(default_factory=dict)
    crops: "dict[tuple[tuple[int, ...], Span], Attention]" = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """True if an effect has touched the output."""
        return self.stage is not None

    def crop(self, heads: Tensor, queries: Span) -> "Attention":
        """Return the attention of some heads (ascending indices) and a range of queries; the same object each time."""
        everything = len(heads) == self.op.heads
        if everything and queries == (0, self.op.q_len):
            return self
        key = (tuple(heads.tolist()), queries)
        if key not in self.crops:
            index, span, of = None if everything else heads, slice(*queries), self.op.heads
            self.crops[key] = Attention(
                self.op.select(index, span),
                lambda: self.output()[:, :, span] if index is None else self.output()[:, index, span],
                tuple(edit.select(index, span, of) for edit in self.edits),
                self.stage,
                None if self.made is None else self.made.select(index, span, of),
            )
        return self.crops[key]

    def answer(self, terms: Sequence[Term]) -> list[Answer]:
        """Answer terms about the attention as it is now; the same term object is computed once.

        Raises ValueError for terms about weights if a method has computed the output itself.
        """
        new = [term for term in dict.fromkeys(terms) if term not in self.known]
        if new:
            self.known.update(zip(new, self._compute(new), strict=True))
        return [self.known[term] for term in terms]

    def apply(self, effect: Effect) -> "Attention":
        """Return the attention after an effect.

        Raises ValueError for an effect of an earlier stage than the last one's: stages only go forward.
        """
        if self.stage is not None and STAGES.index(effect.stage) < STAGES.index(self.stage):
            raise ValueError(f"{effect.stage} cannot change after {self.stage} have: order the effects by stage")
        match effect:
            case InputEffect() | ScoreEffect():
                op = effect.on_operands(self.op)
                touched = effect.touched(self.op) if isinstance(effect, InputEffect) else effect.acting
                if op is self.op or not bool(touched.any()):
                    return self
                return Attention(op, cache(lambda: self._output_of(op, effect, touched)), stage=effect.stage)
            case WeightEffect():
                if not bool(effect.acting.any()):
                    return self
                changed = cache(lambda: changed_weights(self, effect))
                return Attention(self.op, changed, (*self.edits, effect), "weights")
            case OutputEffect():
                if isinstance(effect, Output) and self.stage in ("scores", "weights"):
                    raise ValueError(
                        "a method that computes its own output would drop the changes of scores and weights before it: "
                        "such edits do not compose"
                    )
                out = cache(lambda: effect.on_output(self.output()))
                made = effect if isinstance(effect, Output) else self.made
                return Attention(self.op, out, self.edits, "outputs", made)
        raise TypeError(f"no way to apply {type(effect).__name__} to an attention")

    def _output_of(self, op: Operands, effect: Effect, touched: Tensor) -> Tensor:
        if isinstance(effect, SetScores):  # only the function itself shows which rows it leaves as they are
            out, changed = blockwise.answer(op, (), (blockwise.Output(), blockwise.Changed()))
            assert isinstance(out, Tensor) and isinstance(changed, Tensor)
            return kept(out.to(op.v.dtype), self.output, changed)
        return kept(attend(op)[0], self.output, touched)

    def _compute(self, terms: Sequence[Term]) -> list[Answer]:
        answers: dict[Term, Answer] = {}
        for term in terms:
            if isinstance(term, Attend):
                answers[term] = Attended(*attend(self.op.over(term.k, term.v, term.mask, term.bias)))
            elif isinstance(term, Without) and self.made is None and not self.edits and not self.op.laws:
                (answers[term],) = Attention(self.op.without(term.hidden), self.output)._own([term.term])
        own = [term for term in terms if term not in answers]
        if self.made is not None and any(not isinstance(term, Lse) for term in own):
            raise ValueError(
                "the output of this attention was computed by a method and has no weights to ask about: "
                "measure the unedited attention, or other heads and queries"
            )
        answers.update(zip(own, self._own(own), strict=True))
        if self.made is not None:
            answers.update({term: self.made.on_lse(lse) for term, lse in answers.items() if isinstance(lse, Tensor)})
        return [answers[term] for term in terms]

    def _own(self, terms: Sequence[Term]) -> list[Answer]:
        """Answer terms about the weights."""
        if self.op.needs_grad and all(isinstance(term, Lse) for term in terms):
            return [attend(self.op)[1]] * len(terms)
        if self.edits or self.op.laws or self.op.needs_grad:
            return blockwise.answer(self.op, self.edits, terms)
        whole = [term for term in terms if not isinstance(term, Part)]
        lse = next((term for term in whole if isinstance(term, Lse)), None)
        if lse is None and len(whole) < len(terms):
            lse = Lse()
            whole.append(lse)  # the parts need it
        answers: dict[Term, Answer] = {}
        if rowwise.supports(self.op):
            quick = [term for term in whole if rowwise.answers(term)]
            answers.update(zip(quick, rowwise.answer(self.op, quick), strict=True))
            whole = [term for term in whole if term not in answers]
        if fused.supports(self.op) and _fused_calls(self.op, whole) <= FUSED_CALLS:
            answers.update(zip(whole, _fused(self.op, whole), strict=True))
        else:
            answers.update(zip(whole, blockwise.answer(self.op, (), whole), strict=True))
        for term in terms:
            if isinstance(term, Part):
                assert lse is not None
                total = answers[lse]
                assert isinstance(total, Tensor)
                answers[term] = parts(self.op, term, total)
        return [answers[term] for term in terms]


def _fused_calls(op: Operands, terms: Sequence[Term]) -> float:
    """Count the fused calls that answer the terms; infinite where one has no fused answer."""
    calls = float(any(isinstance(term, Lse | Col) for term in terms))
    for term in terms:
        match term:
            case Lse():
                pass
            case Score() | Col():
                calls += 1
            case Row(f):
                calls += ceil(f.shape[-1] / op.q.shape[-1])
            case _:
                return float("inf")
    return calls


def _fused(op: Operands, terms: Sequence[Term]) -> list[Answer]:
    lse = cache(lambda: fused.attend(op)[1])
    answers: list[Answer] = []
    for term in terms:
        match term:
            case Lse():
                answers.append(lse())
            case Score():
                answers.append(fused.score(op))
            case Row(f):
                answers.append(fused.row(op, f))
            case Col(g):
                answers.append(fused.col(op, g, lse()))
    return answers
