"""The grid world: what is said of a picture is in it, and the detector finds it."""

import pytest
import torch

from regard.worlds.grid import HELD_OUT_PAIRS, NOUNS, PRESENT, Grid, detect, from_rgb, to_rgb, tokenizer
from regard.worlds.grid.detector import templates


def test_the_detector_is_right_on_clean_scenes() -> None:
    made = Grid(twins=0.0).sample(500, 1)
    found = detect(made.pictures)
    rows, things = made.drawn.nonzero(as_tuple=True)
    concepts = made.concepts[rows, things]
    there = torch.zeros(500, len(NOUNS), dtype=torch.bool)
    there[rows, concepts] = True
    assert torch.equal(found.present, there) and float(found.scores[~there].max()) <= 0.5 + 1e-6 < PRESENT
    assert torch.equal(found.corners[rows, concepts], made.corners[rows, things])
    apart = found.hues[rows, concepts] - made.hues[rows, things]
    assert float((apart.cos() - 1).abs().max()) < 1e-5


def test_shares_are_those_asked_for_and_objects_never_overlap() -> None:
    made = Grid().sample(8000, 2)
    two = made.concepts[:, 1] >= 0
    twins = two & (made.concepts[:, 0] == made.concepts[:, 1])
    missing = ~made.drawn[two & ~twins].all(1)
    for share, wanted in ((two, 0.7), (twins[two], 0.25), (missing, 0.4)):
        assert share.float().mean().item() == pytest.approx(wanted, abs=0.03)
    assert not bool((made.masks.sum(1) > 1).any())
    met = {frozenset(pair) for pair in made.concepts[two].tolist()}
    assert met.isdisjoint(frozenset(pair) for pair in HELD_OUT_PAIRS) and len(met) == 28 - 6 + 8


def test_a_prompt_names_what_there_is() -> None:
    made = Grid().sample(200, 3)
    words = tokenizer()
    for row in range(200):
        for thing in range(2):
            if (place := int(made.nouns[row, thing])) >= 0:
                assert words.decode(made.ids[row, place]) == NOUNS[made.concepts[row, thing]]
        assert words(words.decode(made.ids[row], skip_special_tokens=True)).input_ids == [
            token for token in made.ids[row].tolist() if token != words.pad_token_id
        ]
    assert torch.equal(Grid().sample(200, 3).pictures, made.pictures)
    assert not torch.equal(Grid().sample(200, 3, step=1).pictures, made.pictures)


def test_concepts_turned_upside_down_are_their_partners_and_colours_lose_nothing() -> None:
    codes = templates()
    assert torch.equal(codes[:4].rot90(2, (-2, -1)), codes[4:])
    pictures = Grid().sample(50, 4).pictures
    shown = to_rgb(pictures)
    assert shown.shape == (50, 3, 32, 32) and float(shown.min()) >= 0 and float(shown.max()) <= 1
    assert torch.allclose(from_rgb(shown), pictures, atol=1e-5)


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dropped is a probability, not 1\.5"):
        Grid(dropped=1.5)
