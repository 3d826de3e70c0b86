"""Exclude, paired, compare."""

import pytest
import torch

from regard.worlds import Batch, Candidates

TASKS = ("exclude", "paired", "compare")


def solve(task: int, ids: list[int], language: Candidates) -> int:
    """The answer by the rule, read off the tokens before it."""
    told = [token for token in ids[1:-2] if token >= 4 + language.filler]
    assert ids[-2] == task + 1
    match task:
        case 0:
            return next(token for token in told if told.count(token) == 1)
        case 1:
            return told[told.index(told[-1]) + 1]
        case _:
            return max(told)


@pytest.mark.parametrize("task", [*TASKS, "mixture"])
@pytest.mark.parametrize("candidates", [2, 3])
def test_answers_follow_the_rule(task: str, candidates: int) -> None:
    language = Candidates(task, candidates=candidates)
    batch = language.sample(300, 0)
    for name, right in (("ids", "answer"), ("corrupted", "corrupted_answer")):
        texts = batch.ids if name == "ids" else batch.truth[name]
        found = [
            solve(kind, ids, language) for kind, ids in zip(batch.truth["task"].tolist(), texts.tolist(), strict=True)
        ]
        assert found == batch.truth[right].tolist() == texts[:, -1].tolist()


def test_a_corrupted_text_differs_in_one_token() -> None:
    batch = Candidates().sample(300, 0)
    assert (batch.ids != batch.truth["corrupted"])[:, :-1].sum(1).unique().tolist() == [1]
    assert torch.equal(batch.truth["corrupted_answer"], batch.truth["wrong"][:, 0])


@pytest.mark.parametrize("task", TASKS)
def test_no_place_and_no_order_tells_the_answer(task: str) -> None:
    batch = Candidates(task).sample(6000, 0)
    shown = 2 if task == "compare" else 3
    candidates = batch.ids[batch.roles["candidate"]].view(-1, shown)
    which = (candidates == batch.truth["answer"][:, None]).int().argmax(1).bincount(minlength=shown)
    expected = 6000 / shown
    assert (which - expected).abs().max() < 5 * (expected * (1 - 1 / shown)) ** 0.5
    places = batch.roles["candidate"].int().argmax(1)
    assert places.bincount().max() < 0.5 * 6000 and len(places.unique()) > 5


def test_tasks_share_no_symbols_and_are_mixed_evenly() -> None:
    language = Candidates()
    batch = language.sample(3000, 0)
    assert (batch.truth["task"].bincount() - 1000).abs().max() < 5 * (1000 * 2 / 3) ** 0.5
    kinds = [set(language.alphabet(kind)) for kind in ("names", "keys", "values", "numbers")]
    assert len(set().union(*kinds)) == sum(map(len, kinds)) == 64
    used: list[Batch] = [batch.take(batch.truth["task"] == task) for task in range(3)]
    told = [set(part.ids[:, 1:-2][~part.roles["filler"][:, 1:-2]].tolist()) for part in used]
    assert not told[0] & told[1] and not told[1] & told[2] and not told[0] & told[2]


@pytest.mark.parametrize("wrong", [{"task": "add"}, {"candidates": 1}, {"candidates": 17}, {"length": 9}])
def test_what_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"task|candidates"):
        Candidates(**wrong)
