"""Modular arithmetic and its splits."""

import pytest
import torch

from regard.worlds import Modular


@pytest.mark.parametrize("operation", ["+", "-", "*", "/"])
def test_the_answers_are_right_and_all_pairs_are_on_one_side(operation: str) -> None:
    language = Modular(p=13, operation=operation, split="ordered")
    pairs = []
    for batch in (language.train(), language.held_out()):
        for a, b, equals, c in batch.ids.tolist():
            right = {"+": (a + b - c) % 13, "-": (a - b - c) % 13, "*": (a * b - c) % 13, "/": (c * b - a) % 13}
            assert right[operation] == 0 and equals == 13
            pairs.append((a, b))
    assert len(pairs) == len(set(pairs)) == (156 if operation == "/" else 169)
    assert abs(len(language.train()) - len(pairs) / 2) < 1


def test_an_unordered_split_keeps_mirror_images_together() -> None:
    language = Modular(p=97)
    train, held = language.train(), language.held_out()
    assert train.truth["mirrored"].all() and not held.truth["mirrored"].any()
    unordered = {frozenset(pair) for pair in train.ids[:, :2].tolist()}
    assert not unordered & {frozenset(pair) for pair in held.ids[:, :2].tolist()}
    assert len(unordered) == round(97 * 98 / 2 * 0.5)


def test_an_ordered_split_does_not() -> None:
    # Of 4,656 held-out pairs that are no squares half have their mirror image in training, give or take 34.
    mirrored = Modular(p=97, split="ordered").held_out().truth["mirrored"].float().mean()
    assert 0.45 < mirrored < 0.55


def test_samples_are_of_the_training_pairs() -> None:
    language = Modular(p=13, language=4)
    train = {tuple(ids) for ids in language.train().ids.tolist()}
    assert {tuple(ids) for ids in language.sample(2000, 0).ids.tolist()} == train
    assert {tuple(ids) for ids in Modular(p=13, language=5).train().ids.tolist()} != train


@pytest.mark.parametrize("fraction", [0.3, 0.8])
def test_the_fraction_is_kept(fraction: float) -> None:
    language = Modular(p=31, fraction=fraction, split="ordered")
    assert len(language.train()) == round(fraction * 31 * 31)


@pytest.mark.parametrize(
    "wrong", [{"p": 12}, {"p": 1}, {"operation": "-"}, {"operation": "/"}, {"operation": "^"}, {"split": "x"}]
)
def test_what_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"prime|split"):
        Modular(**wrong)


def test_answers_are_spread_evenly() -> None:
    counts = torch.cat([Modular(p=13).train().truth["answer"], Modular(p=13).held_out().truth["answer"]]).bincount()
    assert counts.tolist() == [13] * 13
