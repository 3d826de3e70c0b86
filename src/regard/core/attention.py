"""An attention that answers terms and takes effects, and stays one that answers terms: what later edits and statistics see."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import ceil

import torch
from torch import Tensor

from . import blockwise, fused
from .attend import attend
from .effects import STAGES, Bias, Effect, Mix, Out, Stage
from .mask import Span
from .operands import Operands
from .parts import parts
from .terms import Answer, Col, Lse, Part, Parts, Row, Score, Term

FUSED_CALLS = 2
"""Up to so many fused calls beat one pass over blocks, which answers everything at once (`regard bench core`)."""


@dataclass(frozen=True, eq=False)
class Attention:
    """One attention in which all heads and queries have met the same effects.

    `output` gives its output [batch, head, query, value_dim]: the host's own until an effect changes it. Changes of
    scores are in `op`, changes of weights in `mixes`, changes of outputs in `output`; `stage` is that of the last one.
    """

    op: Operands
    output: Callable[[], Tensor]
    mixes: tuple[Mix, ...] = ()
    stage: Stage | None = None
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
            index, span = None if everything else heads, slice(*queries)
            self.crops[key] = Attention(
                self.op.select(index, span),
                lambda: self.output()[:, :, span] if index is None else self.output()[:, index, span],
                tuple(mix.select(index, span) for mix in self.mixes),
                self.stage,
            )
        return self.crops[key]

    def answer(self, terms: Sequence[Term]) -> list[Answer]:
        """Answer terms about the attention as it is now; the same term object is computed once."""
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
            case Bias(bias):
                # A key axis of 1 is a view of all keys from here on, so that keys can be taken from it.
                bias = bias.expand(*bias.shape[:3], self.op.k_len)
                bias = bias if self.op.bias is None else self.op.bias + bias
                op = replace(self.op, bias=bias)
                return Attention(op, cache(lambda: attend(op)[0]), stage="scores")
            case Mix():
                mixed = cache(lambda: self._mixed(effect))
                return Attention(self.op, mixed, (*self.mixes, effect), "weights")
            case Out():
                scaled = cache(lambda: effect.on_output(self.output()))
                return Attention(self.op, scaled, self.mixes, "outputs")
        raise TypeError(f"no way to apply {type(effect).__name__} to an attention")

    def _compute(self, terms: Sequence[Term]) -> list[Answer]:
        if self.mixes or self.op.needs_grad:
            return blockwise.answer(self.op, self.mixes, terms)
        whole = [term for term in terms if not isinstance(term, Part)]
        lse = next((term for term in whole if isinstance(term, Lse)), None)
        if lse is None and len(whole) < len(terms):
            lse = Lse()
            whole.append(lse)  # the parts need it
        if fused.supports(self.op) and _fused_calls(self.op, whole) <= FUSED_CALLS:
            answers: dict[Term, Answer] = dict(zip(whole, _fused(self.op, whole), strict=True))
        else:
            answers = dict(zip(whole, blockwise.answer(self.op, (), whole), strict=True))
        for term in terms:
            if isinstance(term, Part):
                assert lse is not None
                total = answers[lse]
                assert isinstance(total, Tensor)
                answers[term] = parts(self.op, term, total)
        return [answers[term] for term in terms]

    def _mixed(self, mix: Mix) -> Tensor:
        out, weights = self.output(), mix.weights
        if not mix.renormalise:
            # O + sum (w - 1) O_s rather than sum w O_s: neutral weights leave the output bit-equal, untouched keys are not read.
            share = self._part(mix.part)
            delta = ((weights - 1)[..., None] * share.out).sum(-2)
            return (out.to(delta.dtype) + delta).to(out.dtype)
        every = Part(mix.part.labels.remainder(mix.part.n + 1), mix.part.n + 1)
        share = self._part(every)
        weights = torch.cat([weights, torch.ones_like(weights[..., :1])], -1).to(share.mass.dtype)
        mixed = (weights[..., None] * share.out).sum(-2)
        mass = (weights * share.mass).sum(-1, keepdim=True)
        mixed = torch.where(mass != 0, mixed * (share.mass.sum(-1, keepdim=True) / mass), 0.0)
        return torch.where((weights != 1).any(-1, keepdim=True), mixed.to(out.dtype), out)

    def _part(self, part: Part) -> Parts:
        (answer,) = self.answer([part])
        assert isinstance(answer, Parts)
        return answer


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
