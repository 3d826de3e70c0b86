"""Facts in long documents, and counting in them."""

import pytest
import torch

from regard.worlds import Aggregation, Needle


@pytest.mark.parametrize("needles", [1, 5])
@pytest.mark.parametrize("span", [1, 3])
def test_facts_lie_in_the_document_once(needles: int, span: int) -> None:
    language = Needle(length=150, needles=needles, span=span)
    batch = language.sample(60, 0)
    for row, ids in enumerate(batch.ids.tolist()):
        body = ids[1 : -span - 2]
        facts = {body[i + 1]: body[i + 2 : i + 2 + span] for i, token in enumerate(body) if token == 1}
        assert len(facts) == needles and ids[-span - 2] == 2
        assert facts.pop(ids[-span - 1]) == ids[-span:]
        assert {value[0] for value in facts.values()} == set(batch.truth["wrong"][row].tolist())
        start = int(batch.truth["start"][row])
        assert ids[start : start + 2] == [1, ids[-span - 1]]
    assert (batch.roles["needle"].sum(1) == span + 2).all()
    assert (batch.roles["mark"].sum(1) == needles).all() and (batch.roles["value"].sum(1) == needles * span).all()


@pytest.mark.parametrize("depth", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("needles", [1, 4])
def test_depth_is_where_the_asked_fact_lies(depth: float, needles: int) -> None:
    batch = Needle(length=400, needles=needles, depth=depth).sample(40, 0)
    # Other facts push it: they are two tokens longer than the words they replace.
    assert (batch.truth["depth"] - depth).abs().max() < 2 * needles / 400 + 0.005


def test_without_depth_it_lies_anywhere() -> None:
    depth = Needle(length=300, needles=3).sample(4000, 0).truth["depth"]
    # The mean of 4,000 uniform draws has a standard error of 0.0046.
    assert abs(depth.mean() - 0.5) < 0.025 and (depth < 0.1).float().mean() == pytest.approx(0.1, abs=0.025)


def test_the_commonest_item_is_the_answer() -> None:
    language = Aggregation(length=150, items=5, mentions=6, margin=3)
    batch = language.sample(200, 0)
    counts = torch.stack([(batch.ids[:, :-2] == 130 + item).sum(1) for item in range(5)], 1)
    assert torch.equal(counts, batch.truth["counts"])
    assert torch.equal(counts.argmax(1) + 130, batch.truth["answer"])
    best = counts.sort(1, descending=True).values
    assert (best[:, 0] == 6).all() and (best[:, 1] <= 3).all() and (best[:, -1] >= 1).all()
    assert torch.equal(batch.roles["mention"].sum(1), best[:, 0])


def test_neither_item_nor_place_tells_the_answer() -> None:
    batch = Aggregation(length=150).sample(6000, 0)
    counts = (batch.truth["answer"] - 130).bincount(minlength=6)
    assert (counts - 1000).abs().max() < 5 * (1000 * 5 / 6) ** 0.5
    place = torch.arange(150.0).expand(6000, -1)[batch.roles["mention"]]
    # 48,000 places out of 1 to 147: a mean of 74, with a standard error of 0.2.
    assert abs(place.mean() - 74) < 1


def test_filler_is_by_rank() -> None:
    ids = Needle(length=1000).sample(100, 0)
    counts = ids.ids[ids.roles["filler"]].bincount(minlength=131)[3:131].float()
    assert counts[0] / counts[1] == pytest.approx(2.0, rel=0.1) and counts[0] / counts[9] == pytest.approx(
        10.0, rel=0.15
    )


@pytest.mark.parametrize("wrong", [{"length": 5}, {"depth": 1.5}, {"needles": 0}, {"needles": 33}, {"span": 0}])
def test_what_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"facts|depth"):
        Needle(**wrong)


@pytest.mark.parametrize("wrong", [{"items": 1}, {"margin": 8}, {"margin": 0}, {"length": 40}])
def test_an_aggregation_that_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="items"):
        Aggregation(**wrong)
