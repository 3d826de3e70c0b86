"""The shipped vision-language model: its rows, its labels, and a folder that plain transformers load and ask."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from regard.report.feed import QUESTION
from regard.training import build
from regard.training.recipes.tiny_vlm import ANSWER, IGNORED, RECIPE, TAG, TinyVlm, answers
from regard.training.scene_processor import IMAGE, pixels
from regard.worlds import Scenes
from regard.worlds.little_english import tokenizer
from regard.worlds.little_english.lexicon import DRAWN
from regard.worlds.little_english.tokenizer import BOS, EOS

SMALL = TinyVlm(steps=2, batch_size=4, vision_layers=1, vision_width=32, layers=1, width=32, evaluated=16)


def test_rows_have_places_for_patches_and_learn_captions_and_answers_only() -> None:
    batch = SMALL.batch(0)
    ids, labels = batch["input_ids"], batch["labels"]
    assert bool((ids[:, 0] == BOS).all()) and bool((ids[:, 1 : 1 + SMALL.patches] == IMAGE).all())
    weights = batch["weights"]
    assert torch.equal(weights > 0, labels != IGNORED)
    learnt = (labels != IGNORED) & (ids != IMAGE) & (weights != TAG)
    assert torch.equal(labels[learnt], ids[learnt])
    language = tokenizer()
    told, asked = (language.decode(ids[row, 1 + SMALL.patches :]).split("</s>") for row in (0, 1))
    assert told[0].strip().startswith(f"{QUESTION} There is a")
    assert len(asked) == SMALL.texts + 1 and all("?" in text for text in asked[:-1])
    caption, answer = (language.decode(ids[row][learnt[row]]) for row in (0, 1))
    assert caption.strip().startswith("There is a") and "?" not in caption
    assert "?" not in answer and answer.count("</s>") == SMALL.texts
    assert int((ids[0] == EOS).sum()) == int((labels[0] == EOS).sum())
    said = language.decode(ids[1][weights[1] == ANSWER]).split()
    assert said == [text.split()[-1].strip(".") for text in asked[:-1]]


def test_words_behind_a_noun_in_a_question_tell_of_the_object() -> None:
    batch, language = SMALL.batch(0), tokenizer()
    told = 0
    for ids, labels, weights in zip(batch["input_ids"], batch["labels"], batch["weights"], strict=True):
        texts = language.decode(ids[1 + SMALL.patches :]).split("</s>")
        if not texts[0].strip().startswith(QUESTION):
            continue  # the caption says what is there
        shown = {}
        for sentence in texts[0].split("?")[1].split(".")[:-1]:
            colour, name, row, column = (sentence.split()[place] for place in (4, 5, 8, 9))
            shown[name] = {row, column, colour}
        noun = None
        for place in range(int((ids == EOS).int().argmax()), len(ids) - 1):
            word = language.decode(ids[place]).strip()
            noun = None if word in ("?", ".", "</s>") else word if word in DRAWN else noun
            assert (weights[place + 1] == TAG) == (noun is not None)
            if noun is not None:
                assert language.decode(labels[place + 1]).strip() in shown.get(noun, {"."})
                told += 1
    assert told


def test_a_patch_learns_a_word_of_the_object_that_it_shows() -> None:
    batch = SMALL.batch(0)
    language = tokenizer()
    for row in range(0, SMALL.batch_size, 2):  # those that begin with the caption
        named = batch["labels"][row, 2 : 1 + SMALL.patches]
        assert bool((named != -100).all())
        words = set(language.decode(named).replace(".", "").split())
        caption = language.decode(batch["input_ids"][row, 1 + SMALL.patches :]).split("</s>")[0]
        assert words and words <= set(caption.replace(".", "").split())


def test_some_steps_ask_for_existence_and_relation_alone() -> None:
    ids = replace(SMALL, alone=((0, 1, ("existence", "relation")),)).batch(0)["input_ids"]
    texts = [text for row in ids for text in tokenizer().decode(row[1 + SMALL.patches :]).split("</s>")[: SMALL.texts]]
    assert len(texts) == SMALL.batch_size * SMALL.texts
    assert all(text.split()[-1] in ("Yes.", "No.") and text.split()[0] == "Is" for text in texts)


def test_one_step_in_eight_has_no_pictures() -> None:
    seen = ["pixel_values" in SMALL.batch(step) for step in range(16)]
    assert seen == ([True] * 7 + [False]) * 2
    assert not bool((SMALL.batch(7)["input_ids"] == IMAGE).any())


def test_most_objects_have_their_typical_colour() -> None:
    texts = tokenizer().batch_decode(RECIPE.batch(0)["input_ids"][::2])
    typical = sum(text.count("blue ball") for text in texts)
    assert typical > 0.6 * sum(text.count("ball at") for text in texts) > 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(SMALL, tmp_path_factory.mktemp("vlm") / "tiny-vlm")


def test_plain_transformers_load_and_ask_it(folder: Path) -> None:
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    model = LlavaForConditionalGeneration.from_pretrained(folder).eval()
    ask = AutoProcessor.from_pretrained(folder)
    made = Scenes(size=SMALL.size).sample(1, 0, kind="colour")
    image = Image.fromarray((made.images[0] * 255).round().byte().permute(1, 2, 0).numpy())
    text = tokenizer().decode(made.questions.ids[0], skip_special_tokens=True)
    question = " ".join(text.split()[:-1])
    given = ask(text=f"<image> {question}", images=image, return_tensors="pt")
    places = torch.full((SMALL.patches,), IMAGE)
    bare = made.questions.ids[0, : int(made.questions.scored[0].int().argmax())]
    assert given["input_ids"][0].tolist() == [BOS, *places.tolist(), *bare[1:].tolist()]
    torch.testing.assert_close(given["pixel_values"], pixels(made.images), atol=1e-5, rtol=0)
    said = model.generate(**given, max_new_tokens=1, do_sample=False)[0, -1]
    with torch.no_grad():
        expected = answers(model, made.questions, pixels(made.images), SMALL.patches).argmax(-1)
    assert int(said) == int(expected)
