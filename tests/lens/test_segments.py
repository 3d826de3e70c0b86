"""What each token is: in texts, conversations and images, in padded batches, and while a model runs and generates."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import regard
from regard.core.call import Call
from regard.core.reduce import Moments
from regard.lens import Lens
from regard.lens.inputs import Inputs
from regard.segments import Example, Grid, Segmentation, Vocabulary, resolve
from regard.segments.image import find_pictures, grids
from regard.segments.words import content_words, is_punctuation

from .test_inputs import bert, lens, llama, llava, minilm, picture
from .tokenizers_here import CHATML, GEMMA, LLAMA2, LLAMA3, THINKING, byte_level, llava_processor

SYSTEM = {"role": "system", "content": "You are helpful"}
CHAT = [
    SYSTEM,
    {"role": "user", "content": "the user: user?"},
    {"role": "assistant", "content": "<think>a dog</think>\n\nthe cat sat"},
    {"role": "user", "content": "user"},
]


def text_of(x: Inputs, name: str, tokenizer: Any, row: int = 0) -> str:
    """What the tokens of a segment spell."""
    return str(tokenizer.decode(x["input_ids"][row][x.segments[name][row]]))


@pytest.mark.parametrize(
    ("template", "chat", "said"),
    [
        (CHATML, CHAT, "<think>a dog</think>\n\nthe cat sat"),
        (LLAMA3, CHAT, "<think>a dog</think>\n\nthe cat sat"),
        (LLAMA2, CHAT, "<think>a dog</think>\n\nthe cat sat"),
        (GEMMA, CHAT[1:], "<think>a dog</think>\n\nthe cat sat"),
        (THINKING, CHAT, "the cat sat"),
    ],
    ids=["chatml", "llama3", "llama2", "gemma", "thinking"],
)
def test_roles_are_found_in_any_template(template: str, chat: list[dict[str, str]], said: str) -> None:
    tokenizer = byte_level(template)
    x = lens(tokenizer, llama(256)).encode(chat)
    assert text_of(x, "user", tokenizer) == "the user: user?user"
    assert text_of(x, "assistant", tokenizer) == said
    if chat[0] is SYSTEM:
        assert text_of(x, "system", tokenizer) == SYSTEM["content"]
    else:
        assert "system" not in x.segments.names()
    roles = torch.stack([x.segments[name] for name in x.segments.names() if name in ("system", "user", "assistant")])
    assert (roles.sum(0) + x.segments["template"] == 1).all()


def test_a_message_keeps_the_spaces_that_its_template_keeps() -> None:
    tokenizer = byte_level(CHATML)
    x = lens(tokenizer).encode([{"role": "user", "content": "  the cat "}])
    assert text_of(x, "user", tokenizer) == "  the cat "


def test_a_message_is_found_where_it_changes_what_the_template_writes_around_it() -> None:
    tokenizer = byte_level(
        "{% for m in messages %}{{ 'Q:' if '?' in m['content'] else 'S.' }} {{ m['content'] }};{% endfor %}"
    )
    x = lens(tokenizer).encode([{"role": "user", "content": "the cat?"}, {"role": "assistant", "content": "the dog"}])
    assert (
        text_of(x, "user", tokenizer).strip() == "the cat?" and text_of(x, "assistant", tokenizer).strip() == "the dog"
    )


def test_a_template_that_takes_no_system_message_says_so() -> None:
    with pytest.raises(ValueError, match="the chat template refuses this conversation: System role not supported"):
        lens(byte_level(GEMMA)).encode(CHAT)


@pytest.mark.parametrize("side", ["left", "right"])
def test_segments_are_of_each_example_in_a_padded_batch(side: str) -> None:
    tokenizer = byte_level(CHATML, padding_side=side)
    here = lens(tokenizer, llama(128))
    chats = [CHAT, CHAT[1:2], [SYSTEM, CHAT[3]]]
    x = here.encode(chats)
    for row, chat in enumerate(chats):
        alone = here.encode(chat)
        for name in ["first", "rest", "user", "!user", "template", "special", "last[3]", "re:user", "user|special"]:
            whole = x.segments[name]
            assert whole[row][x.valid[row]].tolist() == alone.segments[name][0].tolist(), name
            assert not whole[~x.valid].any(), name
    assert not x.segments["system"][1].any() and x.segments["system"][2].any()


def test_first_and_bos_are_two_things() -> None:
    with_bos = byte_level(LLAMA3)
    x = lens(with_bos, llama(128)).encode([CHAT[1:2], CHAT[3:]])
    assert torch.equal(x.segments["bos"], x.segments["first"])
    plain = lens(with_bos).encode("the cat")
    assert plain.segments["first"].sum() == 1 and plain.segments["bos"].sum() == 0
    qwen = lens(byte_level(CHATML, bos=False)).encode("the cat")
    with pytest.raises(KeyError, match=r"no segment 'bos'; there are first, rest, all, generated, eos, .*special"):
        qwen.segments["bos"]


def test_a_bos_that_ends_texts_too_is_bos_only_where_they_begin() -> None:
    tokenizer = byte_level(bos=False)
    tokenizer.bos_token = "</s>"
    x = lens(tokenizer).encode("</s>the cat</s>")
    assert x.segments["bos"][0].nonzero().flatten().tolist() == [0]
    assert x.segments["eos"][0].nonzero().flatten().tolist() == [0, x.valid.shape[1] - 1]


def test_added_tokens_can_be_special_without_a_role() -> None:
    from tokenizers import AddedToken

    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken("<|turn|>", special=True), AddedToken("<word>", special=False)])
    x = lens(tokenizer).encode("<|turn|>the<word>")
    assert text_of(x, "special", tokenizer) == "<|turn|>" and text_of(x, "text", tokenizer) == "the<word>"


def test_bert_has_cls_and_sep() -> None:
    x = lens(minilm(), bert()).encode("The cat, the dog.")
    assert x.tokens[0] == ["[CLS]", "the", "cat", ",", "the", "dog", ".", "[SEP]"]
    marked = {name: x.segments[name][0].nonzero().flatten().tolist() for name in ("cls", "sep", "special", "text")}
    assert marked == {"cls": [0], "sep": [7], "special": [0, 7], "text": [1, 2, 3, 4, 5, 6]}
    assert x.segments["punctuation"][0].nonzero().flatten().tolist() == [3, 6]
    assert x.segments["content"][0].nonzero().flatten().tolist() == [2, 5]
    assert x.segments.labels() == [["special", *["text"] * 6, "special"]]


def test_names_are_joined_and_negated() -> None:
    a, b, everything = (torch.tensor(row, dtype=torch.bool)[None] for row in ([1, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 0]))
    table = {"a": a, "b": b, "re:x|!y": a & b}

    def chosen(name: str) -> list[bool]:
        return resolve(name, table.__getitem__, everything)[0].tolist()

    assert chosen("a|b") == [True, True, True, False]
    assert chosen("!a") == [False, False, True, False]
    assert chosen(" !a | b ") == [False, True, True, False]
    assert chosen("re:x|!y") == [False, True, False, False]
    assert chosen("!re:x|!y") == [True, False, True, False]
    assert chosen("b|re:x|!y") == [False, True, True, False]
    assert chosen("b|!re:x|!y") == [True, True, True, False]


def test_regular_expressions_read_the_text_as_it_was_given() -> None:
    here = lens(minilm(), bert())
    x = here.encode(["In Paris, PARIS is Paris.", "no"])
    found = x.segments["re:P[a-z]+"]
    assert (
        [x.tokens[0][at] for at in found[0].nonzero().flatten()] == ["paris", "paris"]
        and found[0, 2]
        and not found[1].any()
    )
    assert x.segments["re:Paris|PARIS"].sum() == 3
    ids_alone = lens(minilm(), bert()).encode({"input_ids": x["input_ids"]})
    assert ids_alone.segments["re:P[a-z]+"].sum() == 0 and ids_alone.segments["re:paris"].sum() == 3
    with pytest.raises(ValueError, match=r"re:\( is no regular expression: missing \)"):
        x.segments["re:("]


@pytest.mark.parametrize("alone", [False, True])
def test_letters_of_several_tokens_are_found_whole(alone: bool) -> None:
    """Byte-level tokens of one letter all stand for it, from offsets and from ids alone."""
    tokenizer = byte_level()
    text = "the naïve 😀 cat — 猫"
    x = lens(tokenizer).encode(text)
    if alone:
        x = lens(tokenizer).encode({"input_ids": x["input_ids"]})
    for letter in ("😀", "猫", "ï", "—"):
        assert text_of(x, f"re:{letter}", tokenizer).strip() == letter
        assert x.segments[f"re:{letter}"].sum() > 1
    assert text_of(x, "re:cat", tokenizer).strip() == "cat"
    assert text_of(x, "punctuation", tokenizer).strip() == "—"


@pytest.mark.parametrize("make", [minilm, byte_level])
def test_ids_spell_what_the_offsets_say(make: Any) -> None:
    tokenizer = make()
    text = "the cat's naïve dogs, 3.5 of them ran(quickly) to paris — 😀!"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    example = Vocabulary(tokenizer).example(torch.tensor(ids))
    spelled, spans = example.spelled
    assert spelled == tokenizer.decode(ids, clean_up_tokenization_spaces=False)
    offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    if make is byte_level:
        assert [spelled[a:b].strip() for a, b in spans] == [text[a:b].strip() for a, b in offsets]
    else:
        pieces = [token.removeprefix("##") for token in tokenizer.convert_ids_to_tokens(ids)]
        assert [spelled[a:b] for a, b in spans] == pieces


def test_ids_that_spell_no_text_are_spelled_all_the_same() -> None:
    tokenizer = byte_level()
    lone = tokenizer("猫", add_special_tokens=False)["input_ids"][:1] * 9
    text, spans = Vocabulary(tokenizer).example(torch.tensor(lone)).spelled
    assert len(spans) == 9 and all(a < b <= len(text) for a, b in spans)
    assert spans[0] == spans[3] != spans[4]  # no letter has more than four bytes


@pytest.mark.parametrize(
    ("piece", "expected"),
    [(",", True), (" ...", True), ("$", True), ("+", True), ("a.", False), (" ", False), ("\U0001f600", False)],
)
def test_punctuation(piece: str, expected: bool) -> None:
    assert is_punctuation(piece) is expected


def test_content_words_are_of_a_language() -> None:
    def words(text: str, language: str) -> list[str]:
        return [text[a:b] for a, b in content_words(text, language)]

    assert words("The cat doesn't sit on THE mat, and 42 dogs don’t.", "en") == ["cat", "sit", "mat", "42", "dogs"]
    assert words("Die Katze sitzt auf der Matte.", "de") == ["Katze", "sitzt", "Matte"]
    assert words("Le chat est sur la table.", "fr") == ["chat", "table"]
    assert words("El gato está en la mesa.", "es") == ["gato", "mesa"]
    x = lens(minilm(), bert()).encode("die cat")
    assert x.segments["content[de]"].sum() == 1 and x.segments["content"].sum() == 2
    with pytest.raises(KeyError, match="no function words are known for 'xx'; there are en, de, fr, es"):
        x.segments["content[xx]"]


def test_users_name_their_own() -> None:
    x = lens(byte_level(padding_side="left")).encode(["the cat sat", "the"])
    mask = torch.zeros_like(x.valid)
    mask[:, -1] = True
    x.segments["answer"] = mask
    assert torch.equal(x.segments["answer"], mask) and "answer" in x.segments.names()
    assert x.segments.labels()[1][-1] == "answer" and "answer (2)" in repr(x.segments)
    with pytest.raises(ValueError, match=r"a segment of this batch is bool \[2, \d+\], not torch.bool \[1\]"):
        x.segments["answer"] = torch.ones(1, dtype=torch.bool)
    for name in ("first", "a|b", "!a", "image[0]"):
        with pytest.raises(ValueError, match="cannot name a segment: it means something already"):
            x.segments[name] = mask


def test_what_users_name_stays_with_their_inputs() -> None:
    """Two inputs of the same ids: each is measured with its own; a run that is told nothing takes what was named last."""
    here = lens(byte_level())
    x, y = here.encode("the cat sat"), here.encode("the cat sat")
    z = here.encode({"input_ids": x["input_ids"]})
    for place, inputs in enumerate((x, y)):
        mask = torch.zeros_like(x.valid)
        mask[0, place] = True
        inputs.segments["mine"] = mask
    for inputs in (x, y):
        one = Seen("mine")
        here.measure(inputs, [one])
        assert torch.equal(one.passes[0], inputs.segments["mine"])
    with torch.no_grad():
        assert torch.equal(seen(here, ["mine"], lambda: here.model(**x))["mine"][0], y.segments["mine"])
    assert "mine" not in z.segments.names()


def test_images_are_runs_of_their_token() -> None:
    processor = llava_processor()
    x = lens(processor, llava()).encode(
        ["the <image> cat <image>", "<image> dog"], images=[[picture(), picture()], picture()]
    )
    zero, one, both = (x.segments[name] for name in ("image[0]", "image[1]", "image"))
    assert zero.sum(1).tolist() == [16, 16] and one.sum(1).tolist() == [16, 0]
    assert torch.equal(zero | one, both) and torch.equal(both, x["input_ids"] == 8)
    assert not (x.segments["special"] & both).any() and not (x.segments["text"] & both).any()
    assert text_of(x, "re:cat", processor.tokenizer).strip() == "cat"
    with pytest.raises(KeyError, match=r"no segment 'image\[2\]'; there are .*image\[0\], image\[1\]"):
        x.segments["image[2]"]
    by_ids = lens(processor, llava()).encode({"input_ids": x["input_ids"], "attention_mask": x["attention_mask"]})
    assert torch.equal(by_ids.segments["image[1]"], one)


def test_images_side_by_side_are_two() -> None:
    x = lens(llava_processor(), llava()).encode("<image><image>", images=[picture(), picture()])
    assert x.segments["image[0]"][0].nonzero().flatten().tolist() == list(range(16))
    assert x.segments["image[1]"][0].nonzero().flatten().tolist() == list(range(16, 32))


def test_roles_and_images_of_a_conversation() -> None:
    processor = llava_processor()
    content = [
        {"type": "text", "text": "the cat"},
        {"type": "image", "image": picture()},
        {"type": "text", "text": "the dog"},
    ]
    x = lens(processor, llava()).encode(
        [{"role": "user", "content": content}, {"role": "assistant", "content": [{"type": "text", "text": "sat"}]}]
    )
    assert text_of(x, "user", processor.tokenizer).split() == ["the", "catthe", "dog"]
    assert text_of(x, "assistant", processor.tokenizer).strip() == "sat"
    assert (
        x.segments["image[0]"].sum() == 16 and not (x.segments["template|user|assistant"] & x.segments["image"]).any()
    )
    assert (x.segments["template|user|assistant"] | x.segments["image"]).all()


def changed_patches(reader: Any, size: tuple[int, int], box: tuple[int, int, int, int], patch: int) -> set[int]:
    """Which patches [row by row] of the processor's picture differ when a box of pixels is painted."""
    from PIL import Image

    blank = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    painted = blank.copy()
    painted[box[1] : box[3], box[0] : box[2]] = 255
    before, after = (reader(Image.fromarray(x), return_tensors="pt")["pixel_values"][0] for x in (blank, painted))
    differs = (before - after).abs().sum(0)
    cells = differs.unfold(0, patch, patch).unfold(1, patch, patch).sum((-1, -2)) > 0.3 * patch
    return set(cells.flatten().nonzero().flatten().tolist())


@pytest.mark.parametrize(
    ("size", "box"),
    [((64, 32), (16, 0, 24, 8)), ((64, 32), (24, 8, 40, 32)), ((64, 32), (20, 4, 30, 14)), ((32, 96), (8, 40, 16, 64))],
)
def test_a_box_of_pixels_is_the_patches_that_it_changes(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    """The short edge is halved to 16, the middle is cropped; resampling bleeds less than what is counted as change."""
    processor = llava_processor()
    processor.image_processor.resample = 0  # nearest: no bleeding into neighbours
    x = lens(processor, llava()).encode("the <image>", images=picture(*size))
    left, top, right, bottom = box
    chosen = x.segments[f"image[0].box({left}, {top}, {right}, {bottom})"][0].nonzero().flatten()
    start = int(x.segments["image[0]"][0].nonzero()[0])
    assert {int(at) - start for at in chosen} == changed_patches(processor.image_processor, size, box, 4) != set()


def test_a_box_outside_of_what_the_model_sees_is_refused() -> None:
    x = lens(llava_processor(), llava()).encode("<image>", images=picture(64, 32))
    with pytest.raises(ValueError, match=r"covers no pixel that the model sees: those are \(16, 0, 48, 32\)"):
        x.segments["image[0].box(0, 0, 16, 32)"]
    with pytest.raises(
        ValueError, match=r"a box is image\[0\]\.box\(left, top, right, bottom\) in pixels, not box\(1, 2\)"
    ):
        x.segments["image[0].box(1, 2)"]
    by_ids = lens(llava_processor(), llava()).encode({"input_ids": x["input_ids"]})
    with pytest.raises(ValueError, match="boxes need the image's grid of patches, and it is not known"):
        by_ids.segments["image[0].box(0, 0, 1, 1)"]


def test_boxes_in_merged_patches_of_qwens_images() -> None:
    """Qwen's processor stretches the image to its grid and lists patches by groups that become one token."""
    from PIL import Image
    from transformers import Qwen2VLImageProcessorPil

    reader = Qwen2VLImageProcessorPil(
        patch_size=4, merge_size=2, temporal_patch_size=1, min_pixels=64, max_pixels=4096, resample=0
    )
    blank = np.zeros((32, 48, 3), dtype=np.uint8)
    painted = blank.copy()
    box = (8, 16, 24, 32)
    painted[box[1] : box[3], box[0] : box[2]] = 255
    before, after = (reader(Image.fromarray(x), return_tensors="pt") for x in (blank, painted))
    differs = (before["pixel_values"] - after["pixel_values"]).abs().sum(-1).view(-1, 4).sum(-1) > 0
    (grid,) = grids(reader, None, before, [(48, 32)])
    assert grid is not None and (grid.rows, grid.columns) == (4, 6)
    assert grid.box(*box) == differs.nonzero().flatten().tolist() == [13, 14, 19, 20]


def test_images_without_a_regular_grid_have_runs_only() -> None:
    ids = torch.tensor([1, 8, 8, 8, 2, 8, 8])
    whole = find_pictures(ids, 8, [Grid(1, 4, (0, 0, 1, 1)), Grid(1, 1, (0, 0, 1, 1))])
    assert [p.tokens.tolist() for p in whole] == [[1, 2, 3, 5], [6]]  # an image's rows may be apart
    for unknown in ([], [None, None], [Grid(9, 9, (0, 0, 1, 1))]):
        runs = find_pictures(ids, 8, unknown)
        assert [p.tokens.tolist() for p in runs] == [[1, 2, 3], [5, 6]] and all(p.grid is None for p in runs)
    assert find_pictures(ids, None) == [] and find_pictures(ids[:1], 8) == []


@dataclass(eq=False)
class Seen:
    """A statistic that notes which keys a segment has at the first layer, pass by pass."""

    segment: str
    passes: list[Tensor] = field(default_factory=list)
    ids: list[Tensor | None] = field(default_factory=list)
    axes: tuple[str, ...] = ("layer", "head")

    @property
    def name(self) -> str:
        return self.segment

    def reducer(self) -> Moments:
        return Moments()

    def plan(self, call: Call) -> Generator[Any, Any, Tensor]:
        self.passes.append(call.keys(self.segment).cpu())
        self.ids.append(call.session.ids)
        return torch.zeros(call.op.batch, call.op.heads)
        yield


def seen(here: Lens, names: list[str], run: Any) -> dict[str, list[Tensor]]:
    """The keys of segments in all passes of a run."""
    statistics = [Seen(name) for name in names]
    with here.record(statistics):
        run()
    return {one.segment: one.passes for one in statistics}


NAMES = ["first", "system", "user", "template", "special", "re:cat", "generated", "last[2]", "!user"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_forward_pass_knows_its_segments_without_being_told(side: str) -> None:
    here = lens(byte_level(CHATML, padding_side=side), llama(128))
    x = here.encode([CHAT, [SYSTEM, CHAT[1]]])
    measured = [Seen(name) for name in NAMES]
    here.measure(x, measured)
    with torch.no_grad():
        plain = seen(here, NAMES, lambda: here.model(**x))
        rows = seen(here, NAMES, lambda: here.model(**{name: x[name][[1, 0, 1]] for name in x}))
    for one in measured:
        expected = x.segments[one.segment]
        assert torch.equal(one.passes[0], expected)
        assert torch.equal(plain[one.segment][0], expected), one.segment
        assert torch.equal(rows[one.segment][0], expected[[1, 0, 1]]), one.segment


def test_what_is_forgotten_is_found_from_the_ids() -> None:
    here = lens(byte_level(CHATML, padding_side="left"), llama(128))
    x = here.encode([CHAT, [SYSTEM, CHAT[1]]])
    plain, special, cat = dict(x), x.segments["special"], x.segments["re:cat"]
    del x
    with torch.no_grad():
        found = seen(here, ["special", "re:cat"], lambda: here.model(**plain))
        assert torch.equal(found["special"][0], special) and torch.equal(found["re:cat"][0], cat)
        with pytest.raises(
            KeyError, match=r"no segment 'user'; .*chat roles are known of what lens.encode made of messages"
        ):
            seen(here, ["user"], lambda: here.model(**plain))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 3, "num_return_sequences": 2},
        {"do_sample": True, "num_return_sequences": 3},
        {"prefill_chunk_size": 5},
        {"cache_implementation": "static"},
    ],
    ids=["greedy", "beams", "samples", "chunks", "static"],
)
def test_generation_keeps_the_segments_of_the_prompt(options: dict[str, Any]) -> None:
    here = lens(byte_level(CHATML, padding_side="left"), llama(128))
    x = here.encode([[SYSTEM, CHAT[1]], [CHAT[3]]])
    width = x.valid.shape[1]
    found = seen(
        here, NAMES, lambda: here.model.generate(**x, max_new_tokens=4, min_new_tokens=4, pad_token_id=2, **options)
    )
    for name in NAMES:
        expected = x.segments[name]
        for keys in found[name]:
            n = min(width, keys.shape[1])
            rows = expected.repeat_interleave(len(keys) // 2, 0)
            if name != "last[2]":
                assert torch.equal(keys[:, :n], rows[:, :n]), name
            if name in ("system", "user", "template"):
                assert not keys[:, width:].any()
    steps = [keys for keys in found["generated"] if keys.shape[1] > width or options.get("cache_implementation")]
    assert [int(keys[:, width:].sum(1).max()) for keys in steps if keys.any()] == [1, 2, 3]
    assert all(not keys[:, :width].any() for keys in steps)
    last = found["last[2]"][-1]
    assert last.sum(1).eq(2).all() and last[:, width + 1 : width + 3].all()


def test_a_window_that_moves_keeps_the_segments_of_its_keys() -> None:
    """A sliding cache drops its first keys: those that stay are the last of the prompt."""
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=400, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=8,
    )  # fmt: skip
    here = lens(byte_level(CHATML, padding_side="left"), MistralForCausalLM(config).eval())
    x = here.encode([[SYSTEM, CHAT[1]], [CHAT[3]]])
    found = seen(here, ["template", "user"], lambda: here.model.generate(**x, max_new_tokens=3, pad_token_id=2))
    for name, passes in found.items():
        first, second = passes[-2:]
        for more, keys in ((1, first), (2, second)):
            assert keys.shape[1] == 8
            assert torch.equal(keys[:, :-more], x.segments[name][:, more - 8 :]), name
    assert found["template"][-1].any()


def test_generated_tokens_are_in_what_their_ids_tell() -> None:
    """Beams write different tokens; each row's regular expression reads its own."""
    tokenizer = byte_level(CHATML, padding_side="left")
    here = lens(tokenizer, llama(128))
    x = here.encode([[SYSTEM, CHAT[1]], [CHAT[3]]])
    statistic = Seen("re:.e|generated")
    letters = Seen("re:[a-m]")
    with here.record([statistic, letters]):
        here.model.generate(**x, max_new_tokens=12, do_sample=True, num_return_sequences=4, pad_token_id=2)
    ids, keys = letters.ids[-1], letters.passes[-1]
    assert ids is not None and keys.shape == ids.shape
    tail = keys[:, x.valid.shape[1] :]
    for row, marks in zip(ids[:, x.valid.shape[1] :], tail, strict=True):
        for token, mark in zip(row.tolist(), marks.tolist(), strict=True):
            plain = tokenizer.decode([token])
            if plain.isascii():  # others may join their neighbours' bytes
                assert mark == any("a" <= letter <= "m" for letter in plain), plain
    assert 0 < int(tail.sum()) < tail.numel()


def test_mass_of_a_segment_is_that_of_the_eager_maps() -> None:
    import copy

    here = lens(byte_level(CHATML, padding_side="left"), llama(128))
    x = here.encode([CHAT, [SYSTEM, CHAT[1]]])
    got = here.measure(x, [regard.Mass("user|system"), regard.Mass("!user")])
    twin = copy.deepcopy(here.model)
    twin.set_attn_implementation("eager")
    with torch.no_grad():
        (maps,) = twin(**x, output_attentions=True).attentions
    for name in ("user|system", "!user"):
        mass = (maps * x.segments[name][:, None, None]).sum(-1)
        expected = torch.stack([mass[row][:, x.valid[row]].mean(-1) for row in range(2)]).mean(0)
        torch.testing.assert_close(got[f"mass[{name}]"].mean[0].float(), expected, atol=1e-5, rtol=1e-5)


def test_a_vision_towers_keys_are_no_tokens_of_the_text() -> None:
    here = lens(llava_processor(), llava())
    x = here.encode("the <image> cat", images=picture())
    assert 0 < here.measure(x, [regard.Mass("image[0]")])["mass[image[0]]"].mean.min() < 1
    with pytest.raises(KeyError, match=r"names tokens that the model was given, and the keys of .*vision.* are others"):
        here.measure(x, [regard.Mass("image[0]")], part="vision")


def test_an_example_without_ids_knows_its_length() -> None:
    table = Segmentation([Example(Vocabulary(), None, length=3)], torch.tensor([[False, True, True, True]]))
    assert table["last[2]"].tolist() == [[False, False, True, True]]
    assert table["!first"].tolist() == [[False, False, True, True]]


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}], ids=["greedy", "beams"])
def test_generation_from_embeddings_keeps_the_segments_of_their_ids(options: dict[str, Any]) -> None:
    here = lens(byte_level(CHATML, padding_side="left"), llama(128))
    x = here.encode([[SYSTEM, CHAT[1]], [CHAT[3]]])
    y = x.with_embeddings(here.model.get_input_embeddings()(x["input_ids"]).detach())
    width = x.valid.shape[1]
    length = {"max_new_tokens": 4, "min_new_tokens": 4, "pad_token_id": 2}
    found = seen(here, NAMES, lambda: here.model.generate(**y, **length, **options))
    for name in NAMES:
        for keys in found[name]:
            rows = x.segments[name].repeat_interleave(len(keys) // 2, 0)
            assert name == "last[2]" or torch.equal(keys[:, :width], rows), name
    assert [int(keys.sum(1).max()) for keys in found["generated"] if keys.any()] == [1, 2, 3]
    assert found["last[2]"][-1][:, -2:].all()


def test_what_an_encoder_was_given_has_segments_for_it_and_for_cross_attention() -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    tokenizer = byte_level(CHATML)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=None,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config).eval()
    here = regard.attach(model, tokenizer)
    x = here.encode(["Rain fell, and fell.", "No."])
    y = {**x, "decoder_input_ids": torch.zeros(2, 3, dtype=torch.long)}
    marks = x.segments["punctuation"]
    assert marks.any(1).all()
    for role, part in (("self", "encoder"), ("cross", None)):
        a = here.weights(y, layer=1, part=part, role=role)
        expected = torch.stack(
            [w[:, ok][..., m].sum(-1).mean(-1) for w, m, ok in zip(a, marks, rows(a, x, role), strict=True)]
        )
        got = here.measure(y, [regard.Mass("punctuation")], part=part, role=role)["mass[punctuation]"].mean
        torch.testing.assert_close(got[1].float(), expected.mean(0), atol=1e-5, rtol=1e-5)
    edit = regard.BlockKeys("punctuation", role="cross")
    for beams in (1, 3):
        options = {"max_new_tokens": 4, "min_new_tokens": 4, "num_beams": beams, "do_sample": False}
        options |= {"return_dict_in_generate": True, "output_logits": True}
        plain = model.generate(**x, **options)
        with here.edit(edit):
            cached, whole = model.generate(**x, **options), model.generate(**x, **options, use_cache=False)
        torch.testing.assert_close(cached.logits[-1], whole.logits[-1], atol=1e-5, rtol=1e-5)
        assert not torch.equal(cached.logits[0], plain.logits[0])


def rows(weights: torch.Tensor, x: Any, role: str) -> torch.Tensor:
    """The queries that count, [example, query]: an encoder's real tokens, all of a decoder's."""
    return x.valid if role == "self" else torch.ones(weights.shape[0], weights.shape[2], dtype=torch.bool)
