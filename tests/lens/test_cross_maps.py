"""Maps of encoder-decoders: those of the library itself, whether the target is given or said, and the classes of the source."""

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessor,
    LogitsProcessorList,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from regard.edit import ScaleKeys
from regard.lens import attach
from regard.lens.cross_maps import decoder_inputs, generated, teacher_forced
from regard.segments.source_classes import CLASSES, source_classes

SHAPE: dict[str, Any] = {
    "vocab_size": 40, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 1, "decoder_start_token_id": 1, "forced_eos_token_id": None, "init_std": 0.5,
    "max_position_embeddings": 64,
}  # fmt: skip


def make(kind: str) -> Any:
    torch.manual_seed(0)
    match kind:
        case "m2m100":
            made: Any = M2M100ForConditionalGeneration(M2M100Config(**SHAPE))
        case "mbart":
            made = MBartForConditionalGeneration(MBartConfig(**SHAPE))
        case "marian":
            made = MarianMTModel(MarianConfig(**SHAPE))
        case _:
            made = T5ForConditionalGeneration(
                T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2, pad_token_id=0,
                         eos_token_id=1, decoder_start_token_id=0, initializer_factor=3.0)
            )  # fmt: skip
    return made.double().eval()  # T5's scores are large, and round


def inputs() -> tuple[dict[str, Tensor], Tensor]:
    """Two sources of 9 and 6 tokens, and targets of 7 and 5 behind a start token."""
    generator = torch.Generator().manual_seed(1)
    ids, target = (torch.randint(3, 40, (2, n), generator=generator) for n in (9, 8))
    mask = torch.ones_like(ids)
    ids[1, 6:], mask[1, 6:], target[:, 0], target[1, 6:] = 0, 0, 1, 0
    return {"input_ids": ids, "attention_mask": mask}, target


@pytest.mark.parametrize("kind", ["m2m100", "mbart", "marian", "t5"])
def test_maps_are_the_librarys_own(kind: str) -> None:
    model, (x, target) = make(kind), inputs()
    found = teacher_forced(attach(model), {**x, "labels": target}, target, pad=0)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        own = model(**x, decoder_input_ids=target, output_attentions=True).cross_attentions
    torch.testing.assert_close(found.weights, torch.stack(own, 1).float(), atol=1e-5, rtol=1e-4)
    assert found.steps.sum(1).tolist() == [8, 6] and torch.equal(found.ids, target)
    assert bool((found.weights[1, ..., 6:] == 0).all())


def test_a_reference_ends_before_its_end_marker_which_may_begin_it() -> None:
    model, (x, target) = make("m2m100"), inputs()
    target[0, 5] = 1  # as the first token is
    assert teacher_forced(attach(model), x, target, pad=0, eos=1).steps.sum(1).tolist() == [5, 6]


@pytest.mark.parametrize("kind", ["m2m100", "mbart", "marian", "t5"])
def test_maps_of_a_generation_are_those_by_its_own_words(kind: str) -> None:
    model, (x, _) = make(kind), inputs()
    lens = attach(model)
    said = generated(lens, x, max_new_tokens=7, min_new_tokens=7)
    forced = teacher_forced(lens, x, said.ids)
    torch.testing.assert_close(said.weights, forced.weights, atol=1e-5, rtol=1e-4)
    assert said.ids.shape[1] == said.weights.shape[3] == 7 and not torch.equal(said.ids[:, 1:], said.ids[:, :-1])
    start = model.config.decoder_start_token_id
    begin = torch.tensor([[start, 5], [start, 6]])
    begun = generated(lens, x, decoder_input_ids=begin, max_new_tokens=4, min_new_tokens=4)
    assert torch.equal(begun.ids[:, :2], begin) and begun.weights.shape[3] == begun.ids.shape[1]
    with torch.no_grad():
        own = model.generate(**x, max_new_tokens=7, min_new_tokens=7, do_sample=False)
    assert torch.equal(own[:, :-1], said.ids)


class EndFirst(LogitsProcessor):  # type: ignore[misc]
    """Has a model end its first text with the token `end` when it has `length` tokens, and no other."""

    def __init__(self, length: int, end: int) -> None:
        self.length, self.end = length, end

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.clone()
        scores[:, :3] = -1e9  # special tokens
        if ids.shape[1] == self.length:
            scores[0, self.end] = 1e9
        return scores


@pytest.mark.parametrize(("eos", "pad"), [(1, 0), (1, None), ([2, 1], 0), ([2, 1], None)])
def test_steps_end_before_the_end_marker(eos: Any, pad: int | None) -> None:
    model, (x, _) = make("m2m100"), inputs()
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = eos, pad
    lens, ends = attach(model), LogitsProcessorList([EndFirst(4, 1)])
    both = generated(lens, x, max_new_tokens=7, logits_processor=ends)
    alone = generated(lens, {name: value[:1] for name, value in x.items()}, max_new_tokens=7, logits_processor=ends)
    assert both.steps.sum(1).tolist() == [4, 7] and alone.steps.sum(1).tolist() == [4]
    torch.testing.assert_close(both.weights[:1, :, :, :4], alone.weights, atol=1e-5, rtol=1e-4)
    begin = torch.tensor([[1, 1, 5], [1, 1, 6]])  # a prompt's end markers end nothing
    begun = generated(lens, x, decoder_input_ids=begin, max_new_tokens=5, logits_processor=ends)
    assert begun.steps.sum(1).tolist() == [4, 7]
    endless = generated(lens, x, max_new_tokens=7, logits_processor=ends, eos_token_id=None)
    assert endless.ids[0, 4] == 1 and bool(endless.steps.all())


def test_without_an_end_marker_steps_end_before_padding() -> None:
    model, (x, _) = make("m2m100"), inputs()
    model.generation_config.eos_token_id = None
    found = generated(attach(model), x, max_new_tokens=4, logits_processor=LogitsProcessorList([EndFirst(3, 0)]))
    assert found.steps.sum(1).tolist() == [3, 4]


def test_a_generation_is_greedy_whatever_its_checkpoint_asks_for() -> None:
    model, (x, _) = make("m2m100"), inputs()
    plain = generated(attach(model), x, max_new_tokens=4, min_new_tokens=4)
    asked = {"return_dict_in_generate": True, "use_cache": False, "num_return_sequences": 2, "num_beams": 2}
    for name, value in asked.items():
        setattr(model.generation_config, name, value)
    found = generated(attach(model), x, max_new_tokens=4, min_new_tokens=4)
    assert torch.equal(found.weights, plain.weights) and torch.equal(found.ids, plain.ids)


@pytest.mark.parametrize("kind", ["m2m100", "mbart", "marian", "t5"])
def test_the_decoder_is_given_the_reference_as_the_family_shifts_it(kind: str) -> None:
    model, (x, target) = make(kind), inputs()
    found = decoder_inputs(model, {**x, "labels": target})
    with torch.no_grad():
        same = (model(**x, decoder_input_ids=found).logits, model(**x, labels=target).logits)
    torch.testing.assert_close(*same)
    assert torch.equal(found[0, 2:], target[0, 1:-1]) and found.shape == target.shape


def test_edits_count() -> None:
    model, (x, target) = make("m2m100"), inputs()
    lens = attach(model)
    plain = teacher_forced(lens, x, target).weights
    factors = torch.ones(2, 9)
    factors[:, 2] = 0.0
    with lens.edit(ScaleKeys(factors, "one", role="cross")):
        found = teacher_forced(lens, x, target).weights
    first = plain[:, 0].clone()  # whose inputs the edit leaves
    first[..., 2] = 0
    torch.testing.assert_close(found[:, 0], first / first.sum(-1, keepdim=True), atol=1e-5, rtol=1e-4)


def test_what_cannot_be_is_said() -> None:
    model, (x, target) = make("m2m100"), inputs()
    for options in ({"num_beams": 2}, {"do_sample": True}, {"use_cache": False}):
        with pytest.raises(ValueError, match="greedy"):
            generated(attach(model), x, **options)
    alone = LlamaForCausalLM(
        LlamaConfig(vocab_size=40, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    )
    with pytest.raises((ValueError, TypeError)):
        teacher_forced(attach(alone), {"input_ids": x["input_ids"]}, target)


def tokenizer() -> Any:
    words = [
        "<pad>",
        "</s>",
        "<s>",
        "<unk>",
        "eng_Latn",
        "swh_Latn",
        "\u2581the",
        "\u2581cat",
        ",",
        "\u2581",
        "\u2581.",
        "$",
        "\u2581a1",
    ]
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>")),
        pad_token="<pad>", eos_token="</s>", bos_token="<s>", unk_token="<unk>",
    )  # fmt: skip
    made.add_special_tokens({"additional_special_tokens": ["eng_Latn", "swh_Latn"]})
    return made


def test_classes_come_from_ids_and_not_from_places() -> None:
    new, old = [4, 6, 7, 8, 9, 10, 11, 12, 3, 2, 1, 0], [6, 7, 8, 9, 10, 11, 12, 3, 2, 1, 4, 0]
    names = {4: "tag", 1: "eos", 3: "special", 2: "special", 8: "punctuation", 9: "punctuation", 10: "punctuation"}
    names[11] = "punctuation"
    mask = torch.ones(1, 12, dtype=torch.long)
    mask[0, -1] = 0
    for layout in (new, old):
        found = source_classes(tokenizer(), torch.tensor([layout]), mask)[0].tolist()
        assert found[-1] == -1
        assert [CLASSES[n] for n in found[:-1]] == [names.get(token, "content") for token in layout[:-1]]
    told = source_classes(tokenizer(), torch.tensor([[4, 6]]), tags={6})[0].tolist()
    assert [CLASSES[n] for n in told] == ["special", "tag"]
    assert CLASSES[int(source_classes(tokenizer(), torch.tensor([[0]]))[0, 0])] == "special"


def test_punctuation_is_told_by_what_a_token_decodes_to() -> None:
    marks, words = ["Ġ,", "Ġ(", "Ċ", "âĢĻ", "Â¿", "..."], ["Ġcat", "Ã©", "s", "Ġ42"]
    made = Tokenizer(WordLevel({word: n for n, word in enumerate([*marks, *words, "</s>"])}, unk_token="</s>"))
    made.decoder = ByteLevel()
    of_bytes = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>")
    found = source_classes(of_bytes, torch.arange(11)[None])[0].tolist()
    assert [CLASSES[n] for n in found] == ["punctuation"] * 6 + ["content"] * 4 + ["eos"]
