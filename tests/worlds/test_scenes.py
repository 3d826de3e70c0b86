"""Pictures and questions on them."""

import re

import pytest
import torch

from regard.worlds import Pictures, Scenes
from regard.worlds.little_english import tokenizer
from regard.worlds.little_english.held_out import colours_of
from regard.worlds.little_english.layout import KINDS, Thing, typical_colour
from regard.worlds.little_english.lexicon import COLUMNS, DRAWN, NUMBERS, ROWS
from regard.worlds.scenes import BACKGROUND, RGB

MANY = Scenes(size=48).sample(600, 0)


def texts(pictures: Pictures) -> list[str]:
    return tokenizer().batch_decode(pictures.questions.ids, skip_special_tokens=True)


def solve(text: str, things: list[Thing]) -> str:
    """The answer to a question, from what is in the picture."""
    by_name = {thing.name: thing for thing in things}
    if match := re.match(r"What colour is the (\w+)\?", text):
        return by_name[match[1]].colour
    if match := re.match(r"How many (?:(\w+) )?objects are there\?", text):
        return NUMBERS[sum(match[1] in (None, thing.colour) for thing in things)]
    if match := re.match(r"Is the (\w+) at the top", text):
        return ROWS[by_name[match[1]].row]
    if match := re.match(r"Is the (\w+) at the left", text):
        return COLUMNS[by_name[match[1]].column]
    if match := re.match(r"Is there a (\w+) (\w+)\?", text):
        return "Yes" if match[2] in by_name and by_name[match[2]].colour == match[1] else "No"
    match = re.match(r"Is the (\w+) (left of|right of|above|below) the (\w+)\?", text)
    assert match, text
    a, b = by_name[match[1]], by_name[match[3]]
    true = {
        "left of": a.column < b.column,
        "right of": a.column > b.column,
        "above": a.row < b.row,
        "below": a.row > b.row,
    }
    return "Yes" if true[match[2]] else "No"


def test_answers_are_those_of_the_picture() -> None:
    for text, things in zip(texts(MANY), MANY.things, strict=True):
        assert text.rstrip(".").split()[-1].lstrip("?") == solve(text, list(things)), text


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_can_be_asked_for(kind: str) -> None:
    pictures = Scenes().sample(300, 1, kind=kind)
    asked = [KINDS[number] for number in pictures.kinds]
    many = [len(things) > 1 for things in pictures.things]
    assert all(got == kind for got, several in zip(asked, many, strict=True) if several or kind != "relation")
    assert kind != "relation" or {got for got, several in zip(asked, many, strict=True) if not several} == {"existence"}
    if kind in ("existence", "relation"):
        yes = sum(text.endswith("Yes") for text in texts(pictures))
        assert abs(yes - 150) < 5 * (300 / 4) ** 0.5


def test_objects_are_drawn_where_and_as_told() -> None:
    for row, things in enumerate(MANY.things[:100]):
        picture = (MANY.images[row] * 255).round().permute(1, 2, 0)
        covered = torch.zeros(48, 48, dtype=torch.bool)
        for thing, (left, top, right, bottom) in zip(things, MANY.boxes[row].tolist(), strict=False):
            covered[top:bottom, left:right] = True
            assert thing.column * 16 <= left < right <= thing.column * 16 + 16
            assert thing.row * 16 <= top < bottom <= thing.row * 16 + 16
            inside = picture[top:bottom, left:right].reshape(-1, 3)
            assert (inside == torch.tensor(RGB[thing.colour])).all(1).any(), thing
            others = {name for name in RGB if name != thing.colour}
            assert not any((inside == torch.tensor(RGB[name])).all(1).any() for name in others)
        assert (picture[~covered] == torch.tensor(BACKGROUND)).all()
        assert (MANY.boxes[row, len(things) :] == -1).all()


def test_objects_look_different() -> None:
    looks = {}
    for row, things in enumerate(MANY.things):
        for thing, (left, top, _, _) in zip(things, MANY.boxes[row].tolist(), strict=False):
            if thing.size == "large":
                cell = MANY.images[row, :, top : top + 15, left : left + 15]
                looks[thing.name] = (cell * 255).round().permute(1, 2, 0).eq(torch.tensor(BACKGROUND)).all(2)
    assert set(looks) == set(DRAWN)
    names = sorted(looks)
    assert all((looks[a] ^ looks[b]).sum() > 10 for a in names for b in names if a < b)


def test_captions_tell_everything() -> None:
    for caption, things in zip(MANY.captions, MANY.things, strict=True):
        told = re.findall(r"There is a (\w+) (\w+) (\w+) at the (\w+) (\w+)\.", caption.text)
        assert told == [(t.size, t.colour, t.name, ROWS[t.row], COLUMNS[t.column]) for t in things]


def test_asked_is_the_object_in_question() -> None:
    for text, things, place, kind in zip(
        texts(MANY), MANY.things, MANY.asked.tolist(), MANY.kinds.tolist(), strict=True
    ):
        if place >= 0:
            assert things[place].name in text
        else:
            assert KINDS[kind] in ("number", "existence")


def test_a_prior_is_kept_or_contradicted() -> None:
    shares = {}
    for prior in (1.0, 0.0, 0.8, None):
        things = [thing for shown in Scenes(prior=prior).sample(400, 2).things for thing in shown]
        shares[prior] = sum(thing.colour == typical_colour(thing.name) for thing in things) / len(things)
    assert shares[1.0] == 1 and shares[0.0] == 0
    # About 1,000 objects: standard errors are 0.013 and 0.010; eight colours are drawn evenly without a prior.
    assert abs(shares[0.8] - 0.8) < 0.065 and abs(shares[None] - 0.125) < 0.055


def test_typical_colours_are_different_and_never_held_out() -> None:
    typical = {name: typical_colour(name) for name in DRAWN}
    assert len(set(typical.values())) == len(DRAWN)
    assert all(colour in colours_of(name, "train") for name, colour in typical.items())


def test_the_splits_share_no_coloured_object() -> None:
    seen = {
        split: {(t.name, t.colour) for shown in Scenes(split).sample(400, 0).things for t in shown}
        for split in ("train", "eval")
    }
    assert not seen["train"] & seen["eval"] and len(seen["eval"]) == 16 and len(seen["train"]) == 64


def test_noise_is_as_strong_as_said() -> None:
    clean, noisy = Scenes().sample(20, 0).images, Scenes(noise=0.05).sample(20, 0).images
    inner = (clean > 0.2) & (clean < 0.8)  # where nothing is cut off
    assert (noisy - clean)[inner].std() == pytest.approx(0.05, rel=0.05) and noisy.min() >= 0 and noisy.max() <= 1


@pytest.mark.parametrize(
    "wrong", [{"size": 47}, {"size": 9}, {"prior": 1.5}, {"prior": 0.5, "split": "eval"}, {"split": "x"}]
)
def test_what_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"pixels|prior|splits"):
        Scenes(**wrong)
