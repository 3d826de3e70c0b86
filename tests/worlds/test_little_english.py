"""The world of people, places and objects, in words."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from regard.worlds import LittleEnglish
from regard.worlds.little_english import lexicon, tokenizer
from regard.worlds.little_english.held_out import colours_of, companions_of
from regard.worlds.little_english.questions import QUESTIONS
from regard.worlds.little_english.text import Text, fill
from regard.worlds.little_english.tokenizer import UNK, words

DOCUMENTS = {split: LittleEnglish(split).documents(3000, 0) for split in ("train", "eval")}
COLOURED = re.compile(rf"\b({'|'.join(lexicon.COLOURS)}) ({'|'.join(lexicon.OBJECTS)})\b")


def combinations_in(text: str) -> set[tuple[str, ...]]:
    """Objects with a colour, and people of one text, read off the text alone."""
    people = sorted(set(lexicon.NAMES) & set(re.findall(r"\w+", text)))
    said = {(thing, colour) for colour, thing in COLOURED.findall(text)}
    said |= {tuple(x) for x in re.findall(r"the (\w+)\? (?:The \w+|It) is (\w+)\.", text) if x[1] in lexicon.COLOURS}
    return said | set(combinations(people, 2))


def test_the_splits_share_no_combination() -> None:
    seen = {split: set().union(*(combinations_in(text.text) for text in texts)) for split, texts in DOCUMENTS.items()}
    assert not seen["train"] & seen["eval"]
    assert len(seen["train"]) > 800 and len(seen["eval"]) > 200


def test_facts_name_the_combinations() -> None:
    for text in DOCUMENTS["train"]:
        said = combinations_in(text.text)
        assert said >= {tuple(sorted(pair)) if pair[0] in lexicon.NAMES else pair for pair in text.facts["pairs"]}


def test_every_combination_is_of_one_split() -> None:
    for thing in lexicon.OBJECTS:
        train, held = colours_of(thing, "train"), colours_of(thing, "eval")
        assert sorted(train + held) == sorted(lexicon.COLOURS) and len(held) == 2
    for name in lexicon.NAMES:
        train, held = companions_of(name, "train"), companions_of(name, "eval")
        assert sorted((*train, *held, name)) == sorted(lexicon.NAMES) and 7 <= len(held) <= 8
        assert all(name in companions_of(other, "eval") for other in held)


def reads(story: str) -> tuple[dict[str, str], dict[str, str | None], dict[str, str]]:
    """Where people are, who has what, and where objects are, by a reader that knows the sentences only."""
    at: dict[str, str] = {}
    has: dict[str, str | None] = {}
    lies: dict[str, str] = {}
    last = ""
    for sentence in re.findall(r"[^.]+\.", story):
        said = sentence.strip(" .")
        if match := re.match(r"On \w+, (.+) (?:was|were) in the (\w+)", said):
            people = match[1].split(" and ")
            at |= dict.fromkeys(people, match[2])
            last = people[0] if len(people) == 1 else ""
            continue
        if match := re.match(r"There was a \w+ \w+ (\w+) in the (\w+)", said):
            has[match[1]], lies[match[1]] = None, match[2]
            last = ""
            continue
        first, _, rest = said.partition(" ")
        if first in ("She", "He"):
            assert last and first == lexicon.pronoun(last)
        else:
            assert first != last
            last = first
        if match := re.match(r"had a \w+ \w+ (\w+)", rest):
            has[match[1]] = last
        elif match := re.match(r"(?:went|walked|ran) to the (\w+)", rest):
            assert at[last] != match[1]
            at[last] = match[1]
        elif match := re.match(r"(?:took|found) the \w+ (\w+)", rest):
            assert has[match[1]] is None and lies[match[1]] == at[last]
            has[match[1]] = last
        elif match := re.match(r"left the (\w+) in the (\w+)", rest):
            assert has[match[1]] == last and at[last] == match[2]
            has[match[1]], lies[match[1]] = None, match[2]
        elif match := re.match(r"(?:gave|handed|passed) the (\w+) to (\w+)", rest):
            assert has[match[1]] == last and at[last] == at[match[2]]
            has[match[1]] = match[2]
        else:
            assert re.match(r"was \w+$|looked at the \w+ \w+$", rest), rest
    where = {thing: lies[thing] if holder is None else at[holder] for thing, holder in has.items()}
    return at, has, where


@pytest.mark.parametrize("split", ["train", "eval"])
def test_stories_are_true(split: str) -> None:
    asked = 0
    for text in DOCUMENTS[split]:
        for place in ("Where", "Who"):
            story, found, question = text.text.partition(f"{place} is" if place == "Where" else "Who has")
            if text.facts["question"] != "story" or not found:
                continue
            _, has, where = reads(story)
            thing = question.split()[1].strip("?")
            assert text.facts["answer"] == (where[thing] if place == "Where" else has[thing])
            asked += 1
    assert asked > 400


@pytest.mark.parametrize("split", ["train", "eval"])
def test_choices_are_right(split: str) -> None:
    for text in DOCUMENTS[split]:
        if text.facts["question"] != "choice":
            continue
        told, _, rest = text.text.partition(" Question: ")
        options = dict(re.findall(r"([ABC]): (\w+)\.", rest))
        right = options[text.facts["answer"]]
        assert len(set(options.values())) == 3
        match rest.split()[:3]:
            case ["What", "colour", "is"]:
                assert (right, re.search(r"is the (\w+)\?", rest)[1]) in COLOURED.findall(told)
            case ["What", "is", colour]:
                assert (colour.strip("?"), right) in COLOURED.findall(told)
            case _:
                assert reads(told)[2][re.search(r"is the (\w+)\?", rest)[1]] == right


def test_indirect_objects_and_coloured_objects_are_right() -> None:
    english = LittleEnglish()
    batch = english.questions("indirect_object", 400, 0)
    s1, io, s2 = (batch.ids[batch.roles[role]] for role in ("s1", "io", "s2"))
    assert (
        torch.equal(s1, s2) and torch.equal(io, batch.truth["answer"]) and torch.equal(s1, batch.truth["wrong"][:, 0])
    )
    first = (batch.roles["s1"].int().argmax(1) < batch.roles["io"].int().argmax(1)).float().mean()
    assert abs(first - 0.5) < 0.125  # five standard errors
    batch = english.questions("coloured_objects", 400, 0)
    place = (batch.ids == batch.ids[batch.roles["query"]][:, None]).int().argmax(1)
    assert torch.equal(batch.ids[torch.arange(400), place - 1], batch.truth["answer"])
    which = torch.stack([batch.ids[batch.roles[f"colour{i}"]] == batch.truth["answer"] for i in range(3)]).sum(1)
    assert which.sum() == 400 and (which - 400 / 3).abs().max() < 5 * (400 * 2 / 9) ** 0.5


def test_labels_are_evenly_right() -> None:
    answers = LittleEnglish().questions("choice", 900, 0).truth["answer"].bincount()
    assert (answers[answers > 0] - 300).abs().max() < 5 * (900 * 2 / 9) ** 0.5 and (answers > 0).sum() == 3


@pytest.mark.parametrize("split", ["train", "eval"])
def test_every_word_is_known_and_texts_come_back(split: str) -> None:
    made = tokenizer()
    texts = [text.text for text in DOCUMENTS[split]]
    ids = made(texts)["input_ids"]
    assert not any(UNK in row for row in ids)
    assert made.batch_decode(ids, skip_special_tokens=True) == texts
    assert all(row[0] == made.bos_token_id for row in ids)


def test_no_word_is_idle() -> None:
    used = {token for row in tokenizer()([text.text for text in DOCUMENTS["train"]])["input_ids"] for token in row}
    asked = {"this", "image"}  # in the question that captions of scenes answer
    assert {word for number, word in enumerate(words()) if number not in used} == {"<pad>", "</s>", "<unk>", *asked}
    assert len(set(words())) == LittleEnglish().vocabulary == len(tokenizer())


def test_the_tokenizer_is_saved_and_loaded(tmp_path: Path) -> None:
    tokenizer().save_pretrained(tmp_path)
    loaded, text = AutoTokenizer.from_pretrained(tmp_path), DOCUMENTS["train"][0].text
    assert loaded.is_fast and loaded(text)["input_ids"] == tokenizer()(text)["input_ids"]
    assert (loaded.pad_token_id, loaded.bos_token_id, loaded.eos_token_id, loaded.unk_token_id) == (0, 1, 2, 3)
    assert loaded("A walrus")["input_ids"][-1] == UNK


def test_rows_are_full_of_texts() -> None:
    english, made = LittleEnglish(length=100), tokenizer()
    batch = english.sample(20, 0)
    assert batch.valid.all() and batch.scored[:, 1:].all() and batch.roles["bos"].sum() == 20
    for ids, answer, document in zip(batch.ids, batch.roles["answer"], batch.truth["document"], strict=True):
        for number in range(int(document.max())):  # but for the last, which is cut
            inside = document == number
            text = made.decode(ids[inside], skip_special_tokens=True).strip()
            assert text[0].isupper() and text.endswith(".") and ids[inside][-1] == made.eos_token_id
            assert answer[inside].sum() == 1


def test_texts_know_their_parts() -> None:
    text = fill("{a} and {b}.", a="Mary", b="John") + fill("{a} slept.", a="Sam")
    assert text.text == "Mary and John. Sam slept."
    assert [(role, text.text[i:j]) for role, i, j in text.spans] == [("a", "Mary"), ("b", "John"), ("a", "Sam")]
    assert (Text("x", facts={"a": 1, "b": 1}) + Text("y", facts={"b": 2})).facts == {"a": 1, "b": 2}


def test_kinds_of_text_come_in_their_shares() -> None:
    kinds = [text.facts["question"] for text in DOCUMENTS["train"]]
    assert set(kinds) == set(QUESTIONS)
    assert abs(kinds.count("story") / 3000 - 0.35) < 5 * np.sqrt(0.35 * 0.65 / 3000)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="splits"):
        LittleEnglish("test")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no questions"):
        LittleEnglish().questions("riddle", 1, 0)
