"""Judging logits."""

import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from regard.worlds import Batch, Candidates, Induction, LittleEnglish, Lookup, Needle, Score, evaluate, score


def knowing(batch: Batch, vocabulary: int) -> torch.Tensor:
    """Logits of a model that knows the next token."""
    logits = torch.zeros(*batch.ids.shape, vocabulary)
    logits[:, :-1].scatter_(2, batch.ids[:, 1:, None], 50.0)
    return logits


def numbers(judged: Score) -> dict[str, float]:
    """The numbers that there are."""
    return {name: number for name, number in judged.to_dict().items() if number is not None}


def test_who_knows_everything_is_right() -> None:
    for world in (Lookup(chains=4), Candidates(), Induction(), Needle(length=80, needles=3, span=2)):
        batch = world.sample(20, 0)
        judged = score(knowing(batch, world.vocabulary), batch)
        assert judged.accuracy == 1.0 and judged.loss == pytest.approx(0.0, abs=1e-6) and judged.floor == 0.0
        assert judged.choice in (1.0, None) and judged.difference in (50.0, None)


def test_who_knows_nothing_pays_the_log_of_the_vocabulary() -> None:
    language = Lookup(chains=4)
    batch = language.sample(20, 0)
    judged = score(torch.zeros(*batch.ids.shape, language.vocabulary), batch)
    assert judged.loss == pytest.approx(math.log(66)) and judged.chance == pytest.approx(0.25)
    assert judged.choice == 0.0 and judged.difference == 0.0  # a tie is not right


def test_chance_counts_the_candidates_that_there_are() -> None:
    batch = Candidates("compare").sample(20, 0)
    assert (batch.truth["wrong"][:, 1] == -1).all()
    assert score(knowing(batch, Candidates().vocabulary), batch).chance == pytest.approx(0.5)


def test_candidates_are_compared_with_the_answer() -> None:
    batch = Batch(
        torch.tensor([[0, 1], [0, 1]]),
        torch.tensor([[False, True]] * 2),
        torch.ones(2, 2).bool(),
        truth={"answer": torch.tensor([1, 1]), "wrong": torch.tensor([[2, -1], [2, 3]])},
    )
    logits = torch.zeros(2, 2, 5)
    logits[:, 0] = torch.tensor([9.0, 3.0, 2.0, 4.0, 0.0])
    judged = score(logits, batch)
    assert (judged.accuracy, judged.choice, judged.difference) == (0.0, 0.5, 0.0)
    assert judged.chance == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_a_model_is_judged_in_pieces_and_padding_does_not_count() -> None:
    english = LittleEnglish()
    batch = english.questions("indirect_object", 10, 0)
    config = LlamaConfig(
        vocab_size=english.vocabulary,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=0,
    )
    model = LlamaForCausalLM(config).eval()
    whole, pieces = (numbers(evaluate(model, batch, size)) for size in (64, 3))
    assert whole == pytest.approx(pieces, rel=1e-5) and set(whole) >= {"loss", "accuracy", "choice", "chance"}
    short = batch.take(batch.valid.all(1).logical_not())
    cut = int(short.valid.sum(1).max())
    assert cut < batch.ids.shape[1]
    alone = Batch(short.ids[:, :cut], short.scored[:, :cut], short.valid[:, :cut], truth=short.truth)
    assert numbers(evaluate(model, short)) == pytest.approx(numbers(evaluate(model, alone)), rel=1e-4)


def test_what_cannot_be_judged_is_refused() -> None:
    control = Induction().control(3, 0)
    with pytest.raises(ValueError, match="no token"):
        score(torch.zeros(3, 32, 32), control)
    first = Batch(control.ids, control.roles["bos"], control.valid)
    with pytest.raises(ValueError, match="first token"):
        score(torch.zeros(3, 32, 32), first)
