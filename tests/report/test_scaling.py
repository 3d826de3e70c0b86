"""Slopes over a family of models, and multiple choice by letters."""

from typing import Any

import numpy as np
import pytest
import torch

from regard.papers.capability_ceilings import items_of, letters_only
from regard.report.choices import Item, prompt, score
from regard.report.scaling import scaling

SIZES = [70e6, 160e6, 410e6, 1.4e9]


def family(rise: float, fall: float, items: int = 800) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    logs = np.log(SIZES)[:, None]
    right = rng.random((4, items)) < 0.25 + rise * (logs - logs[0])
    return right, 3.0 - fall * (logs - logs[0]) + 0.3 * rng.normal(size=(4, items))


def test_a_ceiling_is_loss_that_falls_and_accuracy_that_does_not_rise() -> None:
    flat = scaling(SIZES, *family(0.0, 0.2))
    assert (
        flat.ceiling and flat.loss.value == pytest.approx(-0.2, abs=0.03) and flat.accuracy.low < 0 < flat.accuracy.high
    )
    rising = scaling(SIZES, *family(0.05, 0.2))
    assert not rising.ceiling and rising.accuracy.value == pytest.approx(0.05, abs=0.02) and rising.accuracy.low > 0
    assert not scaling(SIZES, *family(0.0, 0.0)).ceiling


def test_slopes_are_least_squares() -> None:
    right, loss = family(0.03, 0.1, 50)
    found = scaling(SIZES, right, loss)
    assert found.accuracy.value == pytest.approx(np.polyfit(np.log(SIZES), right.mean(1), 1)[0])
    assert found.loss.value == pytest.approx(np.polyfit(np.log(SIZES), loss.mean(1), 1)[0])
    assert found.loss.low < found.loss.value < found.loss.high
    with pytest.raises(ValueError, match="two sizes or more, found 1"):
        scaling([1e6, 1e6], right[:2], loss[:2])


class Bytes:
    """A tokenizer of one token a character."""

    def __call__(self, text: str, return_tensors: str | None = None, add_special_tokens: bool = True) -> Any:
        ids = [ord(letter) for letter in text]
        return type("In", (), {"input_ids": torch.tensor([ids]) if return_tensors else ids})


class Knows:
    """Answers the letter of the option that says "yes", but likes one letter more than it knows."""

    device = torch.device("cpu")

    def __init__(self, liked: str = "B", liking: float = 0.0) -> None:
        self.liked, self.liking = liked, liking

    def __call__(self, input_ids: Any) -> Any:
        text = "".join(map(chr, input_ids[0].tolist()))
        letter = next(line[0] for line in text.splitlines() if line.endswith(". yes"))
        logits = torch.zeros(1, input_ids.shape[1], 128)
        logits[..., ord(letter)] = 2.0
        logits[..., ord(self.liked)] += self.liking
        return type("Out", (), {"logits": logits})


ITEMS = [Item("Is it?", tuple("yes" if i == n % 4 else f"no {i}" for i in range(4)), n % 4) for n in range(8)]


def test_what_a_model_knows_is_seen_through_its_liking_for_a_letter() -> None:
    fair, fond = score(Knows(), Bytes(), ITEMS), score(Knows(liking=9.0), Bytes(), ITEMS)
    assert fair.right.mean() == fair.permuted.mean() == 1 and fair.chance == 0.25 and fair.favourite == 0.25
    assert fond.right.mean() == 0.25 and fond.favourite == 1 and fond.best_letter == 0.25
    assert fond.permuted.mean() == 1


def test_a_model_that_reads_nothing_is_at_chance() -> None:
    assert letters_only() == pytest.approx(0, abs=1e-6)


def test_the_loss_is_of_the_question() -> None:
    found = score(Knows(), Bytes(), ITEMS[:1])
    expected = torch.zeros(128)
    expected[ord("A")] = 2.0
    right = torch.tensor([ord(letter) for letter in "s it?"])
    assert float(found.loss[0]) == pytest.approx(-float(expected.log_softmax(0)[right].mean()))


def test_prompts_turn_the_options() -> None:
    assert prompt(Item("Q", ("a", "b", "c"), 0), 1) == "Q\nA. b\nB. c\nC. a\nAnswer:"


def test_bad_items_are_told(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="answer 2 is none of 2 options"):
        Item("Q", ("a", "b"), 2)
    with pytest.raises(ValueError, match="no items"):
        score(Knows(), Bytes(), [])
    path = tmp_path / "items.jsonl"
    path.write_text('{"question": "Q", "options": ["a", "b"], "answer": 1}\n{"question": "Q"}\n')
    with pytest.raises(ValueError, match="line 2: expected"):
        items_of(path)
