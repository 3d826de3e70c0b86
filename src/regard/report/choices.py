"""Multiple choice by letters: what a language model scores, and what of it is a liking for a letter."""

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Item:
    """A question, its options, and the index of the right one; raises ValueError where there is no such option."""

    question: str
    options: tuple[str, ...]
    answer: int

    def __post_init__(self) -> None:
        if not 0 <= self.answer < len(self.options) <= len(ascii_uppercase):
            raise ValueError(
                f"answer {self.answer} is none of {len(self.options)} options (2 to 26) of {self.question!r}"
            )


@dataclass(frozen=True)
class Scores:
    """What a model scores on items; `right`, `permuted` and `loss` have a number for each item.

    `right`: whether the letter of the right option is the likeliest. `permuted`: the same by the mean log-probability that an
    option has over all rotations of the options through the letters, a share where options tie, so that a liking for a letter
    gives chance. `loss`: nats per token of the question. `chance`: of guessing. `favourite`: the share of answers that are the
    letter that is answered most, and `best_letter` what it would score to give that letter always.
    """

    right: Tensor
    permuted: Tensor
    loss: Tensor
    chance: float
    favourite: float
    best_letter: float


def prompt(item: Item, shift: int = 0) -> str:
    """Return the question with its options by letter, the option at `shift` first."""
    turned = item.options[shift:] + item.options[:shift]
    lines = [f"{letter}. {option}" for letter, option in zip(ascii_uppercase, turned, strict=False)]
    return "\n".join([item.question, *lines, "Answer:"])


@torch.no_grad()
def score(model: Any, tokenizer: Any, items: Sequence[Item]) -> Scores:
    """Score a causal model of transformers on items, one at a time; raises ValueError for none."""
    if not items:
        raise ValueError("there are no items to score")
    right, permuted, losses, said = [], [], [], []
    for item in items:
        n = len(item.options)
        table = torch.zeros(n, n)  # [rotation, option]
        for shift in range(n):
            letters, loss = _letters(model, tokenizer, prompt(item, shift), item.question, n)
            table[shift] = letters.roll(shift)  # the option at place p is number p + shift
            if shift == 0:
                said.append(int(letters.argmax()))
                losses.append(loss)
        right.append(float(said[-1] == item.answer))
        mean = table.mean(0)
        best = mean >= mean.max() - 1e-5
        permuted.append(float(best[item.answer]) / int(best.sum()))
    counts = [said.count(letter) for letter in range(max(said) + 1)]
    most = counts.index(max(counts))
    return Scores(
        torch.tensor(right),
        torch.tensor(permuted),
        torch.tensor(losses),
        sum(1 / len(item.options) for item in items) / len(items),
        max(counts) / len(items),
        sum(item.answer == most for item in items) / len(items),
    )


def _letters(model: Any, tokenizer: Any, text: str, question: str, count: int) -> tuple[Tensor, float]:
    """Log-probabilities of the letters behind a prompt, [letter], and the loss of the question in it, nats per token."""
    ids = tokenizer(text, return_tensors="pt").input_ids.to(model.device)
    logs = model(input_ids=ids).logits[0].float().log_softmax(-1)
    letters = [_behind(tokenizer, letter) for letter in ascii_uppercase[:count]]
    asked = min(len(tokenizer(question).input_ids), ids.shape[1])
    loss = -logs[: asked - 1].gather(1, ids[0, 1:asked, None]).mean() if asked > 1 else logs.new_zeros(())
    return logs[-1, letters].cpu(), float(loss)


def _behind(tokenizer: Any, letter: str) -> int:
    """The token of a letter behind "Answer:", with its space where that is one token."""
    spaced = tokenizer(f" {letter}", add_special_tokens=False).input_ids
    found: int = (spaced if len(spaced) == 1 else tokenizer(letter, add_special_tokens=False).input_ids)[-1]
    return found
