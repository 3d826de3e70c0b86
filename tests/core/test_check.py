"""The spot check: quiet about right answers, loud about wrong ones of every kind that it covers."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import strategies as draws
import torch
from calls import Asking, call_of, probe
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from regard.core import attention, blockwise, fused, planner
from regard.core.attend import attend
from regard.core.attention import Attention
from regard.core.call import Call
from regard.core.check import deviation
from regard.core.effects import Bias, Effect, KeyScale, Out, Rewrite
from regard.core.patchwork import Patchwork
from regard.core.terms import Answer, Col, Lse, Part, Row, Score, Term


def judged(call: Call, terms: Sequence[Term], answers: Sequence[Answer]) -> float:
    """The worst deviation of answers about an unedited call."""
    return deviation(Patchwork.of(call.op, call.host), call.live, terms, answers)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@settings(max_examples=25)
@given(data=st.data())
def test_right_answers_pass(dtype: torch.dtype, data: st.DataObject) -> None:
    op = data.draw(draws.operands(dtype, blocking=False))
    call = call_of(op)
    terms = [*data.draw(draws.terms(op)), call.received]
    answers = Attention(op, lambda: attend(op)[0]).answer(terms)
    assert judged(call, terms, answers) <= 2 * draws.TOLERANCE[dtype]  # measured per max(1, |b|), not per 1 + |b|


@pytest.mark.parametrize(
    "make", [Lse, Score, lambda: Row(probe(11)), lambda: Col(torch.ones(2, 9))], ids=["Lse", "Score", "Row", "Col"]
)
def test_a_wrong_answer_shows(make: Callable[[], Term]) -> None:
    call, term = call_of(), make()
    (right,) = Attention(call.op, call.host).answer([term])
    assert isinstance(right, Tensor)
    assert judged(call, [term], [right]) <= 1e-5
    assert right.abs().max() < 10
    assert judged(call, [term], [right + 0.1]) >= 0.1 / 10  # judged per max(1, |b|)
    (lse,) = Attention(call.op, call.host).answer([Lse()])
    assert judged(call, [Lse(), term], [lse, right + 0.1]) >= 0.1 / 10


@pytest.mark.parametrize("name", ["score", "row", "col"])
def test_a_wrong_kernel_shows_in_the_outcome(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    term = {"score": Score(), "row": Row(probe(11)), "col": Col(torch.ones(2, 9))}[name]
    statistic = Asking("asked", [{"x": term}])
    assert planner.run(call_of(), (), [statistic], check=True).deviation <= 1e-5

    monkeypatch.setattr(attention, "FUSED_CALLS", 2)  # the column sum takes two
    right = getattr(fused, name)
    monkeypatch.setattr(fused, name, lambda *given: right(*given) * 1.05)
    assert planner.run(call_of(), (), [statistic], check=True).deviation >= 0.001
    assert planner.run(call_of(), (), [statistic], check=False).deviation == 0.0


def test_the_worst_of_all_rounds_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong first round is not forgotten because the second was right."""
    right = blockwise.answer
    rounds = 0

    def wrong_at_first(op: Any, mixes: Any, terms: Sequence[Term]) -> list[Answer]:
        nonlocal rounds
        rounds += 1
        answers = right(op, mixes, terms)
        return [a + 0.5 for a in answers if isinstance(a, Tensor)] if rounds == 1 else answers

    call = call_of()
    monkeypatch.setattr(blockwise, "answer", wrong_at_first)
    monkeypatch.setattr(fused, "supports", lambda op: False)
    statistic = Asking("asked", [{"x": Score()}, {"y": Lse()}])
    assert planner.run(call, (), [statistic], check=True).deviation >= 0.4
    assert rounds == 2


def test_one_wrong_column_shows() -> None:
    """Where the total is right: what one key receives too little, another receives too much."""
    call, term, lse = call_of(), Col(), Lse()
    right, total = Attention(call.op, call.host).answer([term, lse])
    assert isinstance(right, Tensor)
    assert judged(call, [term, lse], [right, total]) <= 1e-5
    assert judged(call, [term, lse], [right.roll(1, -1), total]) >= 0.01


def test_dead_rows_and_padding_are_not_judged() -> None:
    """Whatever stands there, no measurement reads it."""
    call = call_of(padded=4)
    (right,) = Attention(call.op, call.host).answer([term := Score()])
    assert isinstance(right, Tensor)
    wrong = torch.where(call.live, right, 7.0)
    assert not torch.equal(wrong, right)
    assert judged(call, [term], [wrong]) <= 1e-5


@pytest.mark.parametrize(
    "effect",
    [Bias(torch.linspace(-2, 2, 11).view(1, 1, 1, 11)), KeyScale(torch.linspace(0, 2, 11).view(1, 1, 11)), Out(0.5)],
    ids=["scores", "weights", "outputs"],
)
def test_edited_attention_is_judged_by_the_edited_weights(effect: Effect) -> None:
    call = call_of(padded=3)
    terms = [Lse(), Score(), Row(probe(11)), Part(torch.arange(11)[None] % 3, 3)]
    plain = Patchwork.of(call.op, call.host)
    edited = plain.apply(effect.select(torch.tensor([1, 2]), slice(2, 9), 4), torch.tensor([1, 2]), (2, 9))
    answers = edited.answer(terms)
    assert deviation(edited, call.live, terms, answers) <= 1e-5
    if not isinstance(effect, Out):  # which leaves the weights as they are
        assert deviation(edited, call.live, terms, plain.answer(terms)) >= 1e-3
    assert deviation(edited, call.live, terms[1:2], [answers[1] + 0.1]) >= 0.01


def test_a_function_of_an_edit_is_asked_in_the_dtype_of_the_call() -> None:
    call = call_of()
    seen: set[torch.dtype] = set()

    def halved(weights: Tensor, block: Any) -> Tensor:
        seen.add(weights.dtype)
        return weights / 2

    edited = Patchwork.of(call.op, call.host).apply(Rewrite(halved), None, (0, call.op.q_len))
    answers = edited.answer([row := Row(probe(11))])
    assert deviation(edited, call.live, [row], answers) <= 1e-5 and seen == {call.op.work_dtype}
