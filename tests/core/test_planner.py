"""Many methods at one call: one packed execution per round, stages in order, state apart."""

from collections.abc import Sequence

import pytest
import strategies as draws
import torch
from calls import Asking, Doing, call_of, probe
from torch import Tensor

from regard.core import dense, planner
from regard.core.attention import Attention
from regard.core.effects import Bias, Mix, Out
from regard.core.patchwork import Patchwork
from regard.core.protocols import Where
from regard.core.session import Session
from regard.core.terms import Answer, Col, Lse, Part, Row, Score, Term

LABELS = torch.tensor([[0, 0, 1, 1, 1, -1, -1, 2, 2, 2, 2]])


@pytest.fixture
def executions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the terms of every execution."""
    counts: list[int] = []
    right = Attention._compute

    def count(attention: Attention, terms: Sequence[Term]) -> list[Answer]:
        counts.append(len(terms))
        return right(attention, terms)

    monkeypatch.setattr(Attention, "_compute", count)
    return counts


def test_statistics_share_one_round(executions: list[int]) -> None:
    shared = Score()
    asked = [{"a": shared, "b": Row(probe(11))}, {"a": shared, "c": Col()}, {"d": Part(LABELS, 3), "e": Lse()}]
    statistics = [Asking(str(i), [terms]) for i, terms in enumerate(asked)]
    call = call_of()
    outcome = planner.run(call, (), statistics)
    assert executions == [5]  # one of the six is shared
    assert outcome.output is None
    assert outcome.applied == frozenset()
    assert set(outcome.values) == {"0", "1", "2"}
    truth = dense.maps(draws.double(call.op))
    for statistic, terms in zip(statistics, asked, strict=True):
        (heard,) = statistic.heard
        assert heard.keys() == terms.keys()
        draws.agree(list(heard.values()), truth, list(terms.values()), torch.float32)


def test_rounds_go_in_lockstep(executions: list[int]) -> None:
    """A plan that is done leaves the others running, and every plan hears its own answers."""
    rounds = [
        [],
        [{"x": Score()}],
        [{"x": Lse()}, {}, {"y": Row(probe(11))}],
        [{"x": Col()}, {"x": Score(), "y": Lse()}],
    ]
    statistics = [Asking(str(i), one) for i, one in enumerate(rounds)]
    call = call_of()
    outcome = planner.run(call, (), statistics)
    assert executions == [3, 2, 1]
    truth = dense.maps(draws.double(call.op))
    for i, (statistic, one) in enumerate(zip(statistics, rounds, strict=True)):
        assert torch.equal(outcome.values[str(i)], torch.full((2, 4), float(len(one))))
        for heard, terms in zip(statistic.heard, one, strict=True):
            draws.agree([heard[name] for name in terms], truth, list(terms.values()), torch.float32)


def test_statistics_see_what_edits_leave() -> None:
    """Edits apply by stage, whatever their order, and each sees the attention that those before it left."""
    call = call_of(padded=3)
    bias, mix = Bias(torch.randn(1, 1, 1, 11)), Mix(Part(LABELS, 3), torch.rand(1, 1, 1, 3), renormalise="mass")
    out = Out(torch.tensor([0.5, 2.0, 0.0, 1.0]).view(1, 4, 1, 1))
    mass = Row(probe(11))
    edits = [
        Doing(out, "outputs", asks=mass),
        Doing(mix, "weights", asks=mass),
        Doing(bias, "scores", asks=mass),
    ]
    statistic = Asking("s", [{"mass": mass, "score": Score(), "part": Part(LABELS, 3)}])
    outcome = planner.run(call, edits, [statistic], check=True)
    assert outcome.applied == {0, 1, 2}
    assert 0 < outcome.deviation < 1e-5  # the check is against the edited weights
    op = draws.double(call.op)
    for edit, before in zip(edits, ([bias, mix], [bias], []), strict=True):
        draws.agree(edit.heard, dense.maps(op, before), [mass], torch.float32)
    truth = dense.maps(op, [bias, mix, out])
    (heard,) = statistic.heard
    draws.agree(list(heard.values()), truth, [mass, Score(), Part(LABELS, 3)], torch.float32)
    assert outcome.output is not None
    assert draws.deviation(outcome.output, truth.out) <= draws.TOLERANCE[torch.float32]


def test_edits_of_one_stage_keep_the_order_given() -> None:
    """The second of two edits of the weights hears what the first left."""
    call, mass = call_of(), Row(probe(11))
    first = Doing(Mix(Part(LABELS, 3), torch.full((1, 1, 1, 3), 0.25)), asks=mass)
    second = Doing(None, asks=mass)
    planner.run(call, [first, second])
    draws.agree(second.heard, dense.maps(draws.double(call.op), [first.effect]), [mass], torch.float32)
    planner.run(call, [second, first])
    draws.agree(second.heard[1:], dense.maps(draws.double(call.op)), [mass], torch.float32)


def test_an_edit_plans_for_its_heads_and_rows_only() -> None:
    call = call_of(session=Session(prompt=5))
    some = Doing(Out(torch.zeros(1, 1, 1, 1)), "outputs", Where(heads=[(0, 3), (0, 1), (7, 0)], phase="decode"), Lse())
    elsewhere = Doing(Out(torch.zeros(1, 1, 1, 1)), "outputs", Where(layers=(3,)))
    nothing = Doing(None, "outputs")
    outcome = planner.run(call, [elsewhere, some, nothing])
    assert outcome.applied == {1}
    assert elsewhere.shapes == []
    assert some.shapes == [(2, 2, 4, 8)]
    lse = dense.maps(draws.double(call.op)).lse
    assert draws.deviation(some.heard[0], lse[:, [1, 3], 5:]) <= draws.TOLERANCE[torch.float32]
    expected = call.host().clone()
    expected[:, [1, 3], 5:] = 0
    assert outcome.output is not None
    assert torch.equal(outcome.output, expected)
    assert outcome.output is not call.host()


def test_nothing_asked_and_nothing_done_runs_nothing(executions: list[int]) -> None:
    outcome = planner.run(call_of(), [Doing(None)], [Asking("s", [{}])], check=True)
    assert executions == []
    assert outcome.output is None
    assert outcome.values["s"].shape == (2, 4)


def test_state_is_kept_per_edit_per_site_per_run() -> None:
    session, edit, other = Session(), Doing(None), Doing(None)
    for layer in (0, 1, 1):
        planner.run(call_of(session=session, layer=layer), [edit])
    assert edit.passes == [1, 1, 2]
    planner.run(call_of(session=session, layer=0), [other])
    assert other.passes == [1]
    planner.run(call_of(session=Session(), layer=1), [edit])
    planner.run(call_of(session=session, layer=1), [edit])
    assert edit.passes == [1, 1, 2, 1, 3]


def test_a_question_is_not_forgotten_when_the_answers_are_joined() -> None:
    """Two pieces answer apart; `together` hands each name the joined tensor of its own."""
    call = call_of()
    patchwork = Patchwork.of(call.op, call.host).apply(Out(torch.ones(1, 1, 1, 1)), torch.tensor([2]), (3, 6))
    terms = {"lse": Lse(), "col": Col(torch.randn(2, 4, 9)), "row": Row(torch.randn(2, 4, 11, 2))}
    statistics = {name: Asking(name, [{"x": term}]) for name, term in terms.items()}
    planner.together({name: s.plan(call) for name, s in statistics.items()}, patchwork)
    truth = dense.maps(draws.double(call.op))
    for name, term in terms.items():
        answer = statistics[name].heard[0]["x"]
        assert isinstance(answer, Tensor)
        draws.agree([answer], truth, [term], torch.float32)
