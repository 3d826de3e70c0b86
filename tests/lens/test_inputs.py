"""What users have becomes what the model takes, and the user's tokenizer stays as it was."""

import copy
import re
from functools import cache
from html import unescape
from typing import Any

import pytest
import torch
from torch import nn

import regard
from regard.cli._load import demo_model
from regard.lens import Lens

from .tokenizers_here import CHATML, LLAMA3, byte_level, llava_processor

TEXTS = ["The cat sat on the mat in Paris.", "A dog.", "And the dog ran to the station, and then to the mat."]
CHAT = [{"role": "system", "content": "You are helpful"}, {"role": "user", "content": "the cat?"}]


@cache
def llama(positions: int = 64) -> nn.Module:
    """A small Llama that has all tokens of the byte-level tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=400, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=positions,
        )
    ).eval()  # fmt: skip


@cache
def llava() -> nn.Module:
    """A small LLaVA for the small processor: 4 by 4 patches of an image of 16 by 16."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=4
    )
    text = LlamaConfig(
        vocab_size=400, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=128,
    )  # fmt: skip
    return LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_id=8)).eval()


def minilm() -> Any:
    """The tokenizer of the demo model, whose file sets truncation and padding."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(demo_model()[1])


def lens(tokenizer: Any = None, model: nn.Module | None = None) -> Lens:
    return regard.attach(model or llama(), tokenizer, check=False)


@cache
def bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    return BertModel(
        BertConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    ).eval()


def picture(width: int = 32, height: int = 16) -> Any:
    from PIL import Image

    return Image.new("RGB", (width, height), (40, 80, 120))


@pytest.mark.parametrize("side", ["left", "right"])
def test_texts_are_padded_as_the_tokenizer_pads_them(side: str) -> None:
    tokenizer = minilm()
    tokenizer.padding_side = side
    x = lens(tokenizer, bert()).encode(TEXTS)
    expected = tokenizer(TEXTS, padding=True, return_tensors="pt")
    assert x.keys() == expected.keys()
    assert all(torch.equal(x[name], expected[name]) for name in expected)
    assert torch.equal(x.valid, expected["attention_mask"].bool())
    assert x.tokens == [tokenizer.convert_ids_to_tokens(row) for row in expected["input_ids"].tolist()]
    assert x.truncated == [0, 0, 0] and x.chunks == [(0, 0), (1, 0), (2, 0)]


def test_one_text_is_a_batch_of_one() -> None:
    assert torch.equal(
        lens(byte_level()).encode("the cat")["input_ids"], byte_level()("the cat", return_tensors="pt").input_ids
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_cut_text_is_what_the_tokenizer_would_keep(side: str) -> None:
    tokenizer = minilm()
    tokenizer.truncation_side = side
    x = lens(tokenizer, bert()).encode(TEXTS, 8)
    full = [len(ids) for ids in minilm()(TEXTS, truncation=False)["input_ids"]]
    expected = tokenizer(TEXTS, truncation=True, max_length=8, padding=True, return_tensors="pt")
    assert torch.equal(x["input_ids"], expected["input_ids"])
    assert x.truncated == [max(n - 8, 0) for n in full] and max(x.truncated) > 0
    assert f"text 1 lost {full[0] - 8} tokens" in repr(x) and f"cut by {full[0] - 8} tokens" in x._repr_html_()


def test_pieces_of_a_text_make_the_whole() -> None:
    tokenizer = minilm()
    x = lens(tokenizer, bert()).encode([TEXTS[0], TEXTS[2]], chunk=6)
    assert x.valid.sum(1).max() == 6 and x.truncated == [0] * len(x.chunks)
    for text in (0, 1):
        rows = [row for row, (of, _) in enumerate(x.chunks) if of == text]
        assert [piece for of, piece in x.chunks if of == text] == list(range(len(rows))) and len(rows) > 1
        ids = [x["input_ids"][row][x.valid[row]].tolist() for row in rows]
        assert all(row[0] == tokenizer.cls_token_id and row[-1] == tokenizer.sep_token_id for row in ids)
        inner = [token for row in ids for token in row[1:-1]]
        assert inner == tokenizer([TEXTS[0], TEXTS[2]][text], add_special_tokens=False)["input_ids"]
    assert "2 texts in" in repr(x) and "piece 2" in x._repr_html_()


def test_a_text_longer_than_the_model_takes_is_refused_with_both_numbers() -> None:
    long = "the cat sat on the mat " * 30
    n = len(byte_level()(long)["input_ids"])
    with pytest.raises(ValueError, match=rf"has {n} tokens and the model takes 64: .*max_tokens=64.*chunk=64"):
        lens(byte_level()).encode(long)
    assert lens(byte_level()).encode(long, 64)["input_ids"].shape == (1, 64)
    assert lens(byte_level()).encode(long, chunk=64).valid.sum() == n


def test_a_text_as_long_as_roberta_takes_runs() -> None:
    """RoBERTa's positions start behind its padding: of 18 positions, 16 can be used."""
    from transformers import RobertaConfig, RobertaModel

    config = RobertaConfig(
        vocab_size=400, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=18, pad_token_id=1,
    )  # fmt: skip
    here = lens(byte_level(), RobertaModel(config).eval())
    with pytest.raises(ValueError, match="the model takes 16"):
        here.encode("the cat sat on the mat " * 9, 17)
    with torch.no_grad():
        here.model(**here.encode("the cat sat on the mat " * 9, 16))


@pytest.mark.parametrize("template", [CHATML, LLAMA3])
def test_conversations_are_what_the_template_makes_of_them(template: str) -> None:
    tokenizer = byte_level(template, padding_side="left")
    chats = [CHAT, [*CHAT, {"role": "assistant", "content": "Yes."}], CHAT[1:]]
    x = lens(tokenizer, llama(128)).encode(chats)
    for row, (chat, prompt) in enumerate(zip(chats, [True, False, True], strict=True)):
        expected = tokenizer.apply_chat_template(chat, add_generation_prompt=prompt, return_dict=False)
        assert x["input_ids"][row][x.valid[row]].tolist() == expected
    assert x.valid[:, -1].all() and not x.valid.all()
    alone = lens(tokenizer, llama(128)).encode(CHAT)
    assert alone["input_ids"][0].tolist() == x["input_ids"][0][x.valid[0]].tolist()


def test_images_beside_a_text_are_what_the_processor_makes_of_them() -> None:
    processor = llava_processor()
    x = lens(processor, llava()).encode("the <image> cat", images=picture())
    expected = processor(text="the <image> cat", images=picture(), return_tensors="pt")
    assert all(torch.equal(x[name], expected[name]) for name in expected)
    with torch.no_grad():
        llava()(**x)


def test_images_in_messages_are_what_the_processor_makes_of_them() -> None:
    processor = llava_processor()
    image, other = ({"type": "image", "image": picture(*size)} for size in ((32, 16), (16, 20)))
    chats = [
        [{"role": "user", "content": [image, {"type": "text", "text": "the cat?"}]}],
        [{"role": "user", "content": [{"type": "text", "text": "the cat sat on the mat"}, other]}],
    ]
    x = lens(processor, llava()).encode(chats)
    expected = processor.apply_chat_template(
        chats, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
        processor_kwargs={"padding": True},
    )  # fmt: skip
    assert torch.equal(x["input_ids"], expected["input_ids"])
    assert torch.equal(x["pixel_values"], expected["pixel_values"])


def test_a_template_that_begins_a_text_itself_is_not_given_a_second_beginning() -> None:
    from tokenizers.processors import TemplateProcessing

    processor = llava_processor()
    processor.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    processor.chat_template = "{{ bos_token }}" + processor.chat_template
    chat = [{"role": "user", "content": [{"type": "image", "image": picture()}, {"type": "text", "text": "the cat?"}]}]
    x = lens(processor, llava()).encode(chat)
    expected = processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert torch.equal(x["input_ids"], expected["input_ids"])
    assert x.segments["bos"].sum() == 1 and not (x["input_ids"][0, 1:] == 0).any()


def test_images_alone_are_passed_to_the_image_processor() -> None:
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    model = ViTModel(
        ViTConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=4
        )
    ).eval()  # fmt: skip
    reader = ViTImageProcessorPil(size={"height": 16, "width": 16})
    here = regard.attach(model, reader, check=False)
    x = here.encode(images=[picture(), picture(8, 8)])
    assert x["pixel_values"].shape == (2, 3, 16, 16) and x.valid.shape == (2, 0) and "pixel_values" in repr(x)
    assert here.measure(x, [regard.Entropy()])["entropy"].count == 2
    with pytest.raises(ValueError, match="takes no text: give it images"):
        here.encode("the cat")


@pytest.mark.parametrize("make", [minilm, lambda: byte_level(CHATML), llava_processor])
def test_the_users_tokenizer_stays_as_it_was(make: Any) -> None:
    processor = make()
    tokenizer = getattr(processor, "tokenizer", processor)
    backend = tokenizer.backend_tokenizer
    backend.enable_truncation(9, direction="left")
    backend.enable_padding(length=9, pad_id=2, pad_token="<pad>")
    before, attributes = backend.to_str(), copy.deepcopy(tokenizer.init_kwargs)
    here = lens(processor, llava() if tokenizer is not processor else bert())
    here.encode(TEXTS)
    here.encode(TEXTS, 5)
    here.encode(TEXTS, chunk=7)
    if tokenizer is not processor:
        here.encode(["<image>", "the cat <image>"], images=[picture(), picture()])
    elif tokenizer.chat_template:
        here.encode(CHAT)
    with pytest.raises(ValueError, match="empty"):
        here.encode("")
    assert backend.to_str() == before and tokenizer.init_kwargs == attributes
    assert backend.truncation["max_length"] == 9 and backend.padding["length"] == 9


def test_token_types_are_kept_for_models_that_take_them() -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = bert()

        def forward(self, **inputs: Any) -> Any:
            return self.inner(**inputs)

    tokenizer = byte_level(model_input_names=["input_ids", "token_type_ids", "attention_mask"])
    for model, taken in ((llama(), False), (bert(), True), (Wrapper(), True)):
        x = lens(tokenizer, model).encode(TEXTS)
        assert ("token_type_ids" in x) == taken
    llama().generate(**lens(tokenizer).encode(TEXTS), max_new_tokens=2, pad_token_id=0)  # type: ignore[operator]


def test_token_types_of_a_processor_are_kept_for_models_that_take_them() -> None:
    processor = llava_processor()
    processor.tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    assert "token_type_ids" in processor(text="<image> a cat", images=[picture()])
    x = lens(processor, llava()).encode("<image> a cat", images=[picture()])
    assert "token_type_ids" not in x
    llava().generate(**x, max_new_tokens=2, pad_token_id=0)  # type: ignore[operator]


def test_ready_inputs_are_passed_through() -> None:
    tokenizer = byte_level()
    ready = tokenizer(TEXTS[:2], padding=True, return_tensors="pt")
    x = lens(tokenizer).encode(ready)
    assert all(torch.equal(x[name], ready[name]) for name in ready)
    assert torch.equal(x.valid, ready["attention_mask"].bool())
    assert x.segments["special"].sum() == 0 and x.segments["punctuation"].sum() == 2
    lists = lens(tokenizer).encode({"input_ids": [[5, 6, 7]], "labels": None, "use_cache": False})
    assert lists["input_ids"].shape == (1, 3) and lists["use_cache"] is False and lists.valid.all()
    unnamed = lens().encode({"input_ids": torch.tensor([[5, 6]])})
    assert unnamed.tokens == [["5", "6"]] and unnamed.segments["last[1]"].tolist() == [[False, True]]


NOT_INPUTS: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    ("", {}, ValueError, "text 1 of 1 is empty: there is nothing to attend to"),
    (["the cat", ""], {}, ValueError, "text 2 of 2 is empty"),
    ([], {}, ValueError, "no text to encode"),
    (["the cat", 3], {}, TypeError, "text 2 is a int, not a string or a list of messages"),
    (3, {}, TypeError, "encode takes text, messages or model inputs, not a int"),
    ([[]], {}, TypeError, "text 1 is a empty conversation"),
    (CHAT, {}, ValueError, "has no chat template to write messages by: give text, or set its chat_template"),
    ("the cat", {"max_tokens": 5, "chunk": 5}, ValueError, "not both"),
    ("the cat", {"max_tokens": 0}, ValueError, "0 tokens leave no room for text"),
    ("the cat", {"images": picture}, ValueError, "does not take text with images"),
    (["a", "b"], {"images": [1]}, ValueError, "give images for each of the 2 texts"),
    ({"input_ids": [[5, 6], [7]]}, {}, ValueError, "input_ids is no rectangle of numbers: pad the examples"),
    ({"input_ids": torch.tensor([5, 6])}, {}, ValueError, r"input_ids are integers \[batch, token\], not .* \[2\]"),
    ({"input_ids": torch.rand(1, 2)}, {}, ValueError, r"input_ids are integers"),
    ({"input_ids": torch.zeros(1, 0).long()}, {}, ValueError, "these inputs are empty"),
    ({"input_ids": torch.tensor([[5, 400]])}, {}, ValueError, "there is no token 400 in this model, whose vocabulary has 400"),
    ({"input_ids": torch.tensor([[5, -1]])}, {}, ValueError, "there is no token -1"),
    ({"input_ids": torch.tensor([[5]])}, {"chunk": 3}, ValueError, "inputs that are ready are passed through"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "options", "kind", "message"), NOT_INPUTS)
def test_what_cannot_be_encoded_is_told_in_one_sentence(
    given: Any, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        lens(byte_level()).encode(given, **options)


def test_a_tokenizer_of_another_model_is_noticed() -> None:
    with pytest.raises(ValueError, match="is this the tokenizer that belongs to it"):
        lens(minilm()).encode("the cat")


def test_without_a_tokenizer_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="encode needs a tokenizer or a processor"):
        lens().encode("the cat")


@pytest.mark.parametrize(
    ("text", "images", "message"),
    [
        ("the cat", [picture], r"0 places for images \(<image>\) and 1 images"),
        ("<image> <image>", [picture], "2 places for images .* and 1 images"),
        ("<image>", [], "1 places for images .* and 0 images"),
    ],
)
def test_images_and_places_for_them_have_to_match(text: str, images: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lens(llava_processor(), llava()).encode([text, "<image>"], images=[[i() for i in images], [picture()]])


def test_a_text_with_images_is_not_cut() -> None:
    with pytest.raises(ValueError, match="a text with images cannot be cut or given in pieces"):
        lens(llava_processor(), llava()).encode("<image>", 5, images=picture())


def test_a_text_with_images_longer_than_the_model_takes_is_refused() -> None:
    with pytest.raises(ValueError, match="tokens and the model takes 128"):
        lens(llava_processor(), llava()).encode("<image>" + "the cat " * 128, images=picture())


def test_inputs_move_to_a_device() -> None:
    x = lens(byte_level()).encode(TEXTS)
    moved = x.to("meta")
    assert moved["input_ids"].device.type == "meta" and x["input_ids"].device.type == "cpu"
    assert moved.tokens == x.tokens and torch.equal(moved.valid, x.valid)


def test_embeddings_keep_the_segments_of_their_ids() -> None:
    here = lens(byte_level(CHATML, padding_side="left"))
    x = here.encode([CHAT, CHAT[1:]])
    y = x.with_embeddings(here.model.get_input_embeddings()(x["input_ids"]).detach())
    assert "input_ids" not in y
    statistics = [regard.Mass(name) for name in ("user", "!user", "re:cat", "special", "last[2]")]
    from_ids, from_embeddings = here.measure(x, statistics), here.measure(y, statistics)
    for name in from_ids:
        assert torch.equal(from_ids[name].mean, from_embeddings[name].mean)
    assert 0 < from_ids["mass[user]"].mean.min() < 1
    with pytest.raises(ValueError, match="these inputs are"):
        x.with_embeddings(torch.zeros(2, 3, 16))
    with pytest.raises(KeyError, match="the run has no token ids to find segments by"):
        here.measure({"inputs_embeds": y["inputs_embeds"]}, [regard.Mass("user")])


def test_tokens_are_shown_escaped_and_coloured_by_segment() -> None:
    text = "<script>alert('&')</script>"
    page = lens(byte_level(CHATML)).encode([{"role": "user", "content": text}])._repr_html_()
    assert "title='user'" in page and "title='special'" in page and "title='template'" in page
    tags = set(re.findall(r"<(/?\w+)", page))
    assert tags == {"div", "/div", "p", "/p", "b", "/b", "span", "/span"}
    shown = re.findall(r"<span title='user' style='[^']*'>([^<]*)</span>", page)[1:]  # the first is the legend's
    assert "".join(unescape(piece) for piece in shown) == text
