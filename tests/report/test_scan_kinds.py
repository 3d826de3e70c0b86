"""Every kind of model can be scanned: its parts, what they are called, and that the result is whole."""

import json
from functools import cache
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from lens.tokenizers_here import byte_level
from models_here import CHATS, TEXTS, kinds, llama, pictures, t5
from transformers import T5ForConditionalGeneration

import regard
from regard import attach
from regard.lens.cross_maps import generated, teacher_forced
from regard.report.data import Scan, to_array
from regard.report.feed import feed
from regard.report.scan import scan
from regard.report.schema import schema
from regard.segments.source_classes import CLASSES, source_classes

KINDS = ("decoder", "chat", "pair", "vision", "vlm")
EXPECTED = {
    "decoder": [("main/self", "the model", "back")],
    "chat": [("main/self", "the model", "back")],
    "pair": [
        ("decoder/self", "the decoder", "back"),
        ("decoder/cross", "the decoder's attention to the encoder", "both"),
        ("encoder/self", "the encoder", "both"),
    ],
    "vision": [("main/self", "the image encoder", "both")],
    "vlm": [("main/self", "the language model", "back"), ("vision/self", "the image encoder", "both")],
}
STATISTICS = {
    "sink_mass", "sink_rate", "entropy", "distance", "max_weight", "effective_keys", "entropy|no_sinks",
    "distance|no_sinks",
}  # fmt: skip


@cache
def scanned(kind: str, redact: bool = False) -> Scan:
    model, processor, given = kinds()[kind]
    return scan(model, processor, **given, name="toy", redact=redact)


@pytest.mark.parametrize("kind", KINDS)
def test_a_scan_has_the_attention_of_its_model(kind: str) -> None:
    result = scanned(kind)
    assert [(f"{part.name}/{part.role}", part.title, part.reading) for part in result.parts] == EXPECTED[kind]
    assert result.trusted and result.seconds > 0 and result.peak_bytes > 1e7
    for place, part in enumerate(result.parts):
        assert set(part.statistics) == STATISTICS
        for table in part.statistics.values():
            assert np.shape(table.mean) == (2, 4) == (len(part.rows), part.rows[0].heads)
        shares = to_array(part.areas.shares)
        assert shares.shape == (2, len(part.areas.names)) and np.allclose(shares.sum(1), 1) and (shares >= 0).all()
        mine = [example for example in result.examples if example.part == place]
        assert mine and part.cards is not None and result.examples[part.cards.key_text].part == place
        count = len(result.examples[part.cards.key_text].tokens)
        keys = {key for layer in part.cards.keys for head in layer for ranks in head for key in ranks}
        assert keys <= set(range(count)) and part.cards.queries[-1] == count - 1
        for example in mine:
            assert np.shape(example.received) == (2, len(example.tokens)) == (2, len(example.segments))
            assert np.min(example.received) >= 0 and np.max(example.received) == 255
    assert len({(finding.key, finding.part) for finding in result.findings}) == len(result.findings)
    assert [finding.part for finding in result.findings].count(0) == (4 if kind == "vision" else 5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_json_is_the_scan_and_fits_its_schema(kind: str) -> None:
    result = scanned(kind)
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(values, schema())
    assert Scan.from_json(values) == result
    for broken in (values | {"seconds": "long"}, values | {"more": 1}, values | {"schema": "regard.scan/3"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, schema())


@pytest.mark.parametrize("kind", KINDS)
def test_every_line_of_code_in_the_findings_runs(kind: str) -> None:
    model, processor, given = kinds()[kind]
    lens = regard.attach(model, processor)
    x = feed(lens, given.get("given"), given.get("images"), None, 1).encode([0])
    for finding in scanned(kind).findings:
        exec(finding.code, {"regard": regard, "lens": lens, "model": model, "x": x})


@pytest.mark.parametrize("kind", KINDS)
def test_few_texts_are_spoken_of_alone(kind: str) -> None:
    result = scanned(kind)
    count = 3 if kind in ("vision", "vlm") else 2
    unit = {"vision": "image", "chat": "conversation", "vlm": "conversation"}.get(kind, "text")
    assert result.unit == unit and result.texts == count
    for finding in result.findings:
        of = "image" if result.parts[finding.part].name == "vision" else unit
        assert finding.sentence.startswith(f"In these {count} {of}s, ") and finding.interval is None
        assert finding.texts == count


def test_conversations_are_told_by_role() -> None:
    result = scanned("chat")
    assert {"system", "user", "assistant", "last 16"} < set(result.parts[0].areas.names)
    expected = {"first", "system", "user", "assistant", "template", "special"}
    assert set(result.examples[0].segments) == expected


def test_images_come_with_their_patches() -> None:
    for kind, parts in (("vision", 1), ("vlm", 2)):
        result = scanned(kind)
        assert len(result.parts) == parts and len(result.examples) == 3 * parts
        for example in result.examples:
            assert example.image and example.grid == (4, 4) and example.patches is not None
            assert [example.segments[place] for place in example.patches] == (
                ["image"] * 16 if example.kind == "image" else ["image[0]"] * 16
            )


def test_an_image_encoder_is_measured_on_images() -> None:
    model, processor, _ = kinds()["vlm"]
    pair = [{"type": "image", "image": picture} for picture in pictures(2)]
    given = [
        [{"role": "user", "content": [*shown, {"type": "text", "text": "the cat"}]}] for shown in ([], pair, pair[:1])
    ]
    result = scan(model, processor, given)
    assert [len(part.lengths) for part in result.parts] == [3, 3] and result.parts[1].lengths == [17] * 3
    assert [(example.part, example.title) for example in result.examples] == [
        (0, "conversation 1"), (0, "conversation 2"), (0, "conversation 3"), (1, "conversation 2"), (1, "conversation 3"),
    ]  # fmt: skip
    assert [example.grid for example in result.examples] == [None, (4, 4), (4, 4), (4, 4), (4, 4)]


def test_the_decoder_is_fed_the_text_behind_its_start_token() -> None:
    for side in ("left", "right"):
        tokenizer = byte_level(padding_side=side)
        lens = regard.attach(t5(), tokenizer)
        x = feed(lens, TEXTS, None, None, 2).encode([0, 1])
        for row in range(2):
            real = x["attention_mask"][row].bool()
            given, fed = x["input_ids"][row][real], x["decoder_input_ids"][row][real]
            assert fed.tolist() == [2, *given[:-1].tolist()]
            assert torch.equal(x["decoder_attention_mask"][row], x["attention_mask"][row])
    result = scanned("pair")
    assert result.examples[0].tokens[0] == "<pad>" and result.examples[0].tokens[1:] == result.examples[2].tokens[:-1]
    assert any("one token later" in note for note in result.notes)


def test_cross_attention_shows_queries_of_one_text_and_keys_of_another() -> None:
    cards = scanned("pair").parts[1].cards
    assert cards is not None and (cards.text, cards.key_text) == (0, 2)


def test_cross_attention_has_its_masses_by_classes_of_the_source() -> None:
    plain, tokenizer, given = kinds()["pair"]
    assert all(one.written is None and "head" in str(one.silent) for one in scanned("pair").sources)
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(plain.config).eval()
    result = scan(model, tokenizer, **given, name="toy")
    assert [one.text for one in result.sources] == [
        place for place, example in enumerate(result.examples) if result.parts[example.part].role == "cross"
    ]
    lens = attach(model, tokenizer)
    for text, one in zip(given["given"], result.sources, strict=True):
        x = lens.encode(text)
        fed = torch.cat([torch.tensor([[model.config.decoder_start_token_id]]), x["input_ids"][:, :-1]], 1)
        maps = teacher_forced(lens, x, fed)
        classes = source_classes(tokenizer, x["input_ids"])[0]
        mean = maps.weights[0].double().mean((0, 1, 2))
        for number, name in enumerate(CLASSES):
            assert one.read[name] == pytest.approx(float(mean[classes == number].sum()), abs=1e-5)
        even = torch.full_like(mean, 1 / len(mean))
        assert one.flatness == pytest.approx(float(torch.cosine_similarity(mean, even, 0)), abs=1e-5)
        assert one.written is not None and sum(one.written.values()) == pytest.approx(1, abs=1e-5)
        own = generated(lens, x, max_new_tokens=16, min_new_tokens=1).weights[0].double().mean((0, 1, 2))
        assert one.agreement == pytest.approx(float(torch.cosine_similarity(mean, own, 0)), abs=1e-5)


def test_a_model_whose_layers_attend_window_by_window_is_scanned() -> None:
    from transformers import SwinConfig, SwinModel

    torch.manual_seed(0)
    config = SwinConfig(image_size=32, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 4], window_size=4)
    result = scan(SwinModel(config).eval(), None, {"pixel_values": torch.randn(1, 3, 32, 32)})
    assert result.trusted and not result.sinks  # of windows nothing is told by token


def test_a_model_that_fails_to_write_is_scanned_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, tokenizer, given = kinds()["pair"]
    model = T5ForConditionalGeneration(plain.config).eval()

    def fail(**given: Any) -> None:
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(model, "generate", fail)
    assert {one.silent for one in scan(model, tokenizer, **given, name="toy").sources} == {"out of memory"}


def test_redacted_keeps_positions_and_segments() -> None:
    for kind in ("chat", "vlm", "decoder"):
        open_, closed = scanned(kind), scanned(kind, redact=True)
        assert closed.redacted and not open_.redacted
        for shown, hidden in zip(open_.examples, closed.examples, strict=True):
            assert hidden.segments == shown.segments and hidden.received == shown.received
            assert hidden.image is None and set(hidden.tokens) == {"·"} and len(hidden.tokens) == len(shown.tokens)
        told = " ".join(finding.sentence + finding.detail for finding in closed.findings)
        assert "`the`" not in told and "`U`" not in told
    assert "`the`" in scanned("decoder").findings[0].sentence
    assert "`<|im_start|>`" in scanned("chat", redact=True).findings[0].sentence


def test_a_notebook_shows_the_page_in_a_frame(tmp_path: Any) -> None:
    model, processor, given = kinds()["decoder"]
    steps: list[tuple[int, int]] = []
    shown = regard.scan(model, processor, given["given"], progress=lambda done, of: steps.append((done, of)))
    frame = shown._repr_html_()
    assert frame.startswith("<iframe srcdoc=") and frame.count("<") == 2 and frame.count('"') == 4
    shown.save(tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert shown.to_json()["schema"] == "regard.scan/5" and "first token" in repr(shown)
    assert steps == sorted(steps) and steps[-1][0] == steps[-1][1] > 0


def test_inputs_that_are_ready_are_scanned() -> None:
    lens = regard.attach(llama(), byte_level())
    x = lens.encode(TEXTS)
    ready, texts = (scan(llama(), byte_level(), given, batch_size=1) for given in (x, TEXTS))
    for name, table in ready.parts[0].statistics.items():
        np.testing.assert_allclose(
            to_array(table.mean), to_array(texts.parts[0].statistics[name].mean), atol=1e-5, err_msg=name
        )
    assert [len(one.tokens) for one in ready.examples] == [len(one.tokens) for one in texts.examples]


def test_a_decoder_that_is_given_a_target_has_its_tokens_and_not_the_sources() -> None:
    model, tokenizer = t5(), byte_level()
    x = dict(regard.attach(model, tokenizer).encode(TEXTS))
    width = x["input_ids"].shape[1]
    target = torch.full((2, width), 2)  # as wide as the sources, and padded otherwise
    target[:, 1:6] = torch.arange(20, 30).view(2, 5)
    mask = torch.arange(width) < torch.tensor([[4], [6]])
    result = scan(model, tokenizer, {**x, "decoder_input_ids": target, "decoder_attention_mask": mask.long()})
    # The same without padding, and without a tokenizer.
    alone = scan(model, None, {"input_ids": x["input_ids"][:1], "decoder_input_ids": target[:1, :4]})
    own, other = result.examples[:2]
    assert own.tokens == tokenizer.convert_ids_to_tokens(target[0, :4].tolist())
    assert other.tokens == tokenizer.convert_ids_to_tokens(target[1, :6].tolist())
    assert alone.examples[0].tokens == [str(token) for token in target[0, :4].tolist()]
    for one, count in ((own, 4), (other, 6), (alone.examples[0], 4)):
        assert one.norms is not None and len(one.segments) == len(one.received[0]) == len(one.norms[0]) == count
    for found in (result, alone):
        crossed = found.parts[1].cards
        assert crossed is not None and crossed.queries == [0, 1, 2, 3]
        assert len(found.examples[crossed.key_text].tokens) == width
    for one, same in zip(result.examples[::2], alone.examples, strict=True):
        np.testing.assert_allclose(one.scale, same.scale, rtol=1e-3)


def test_a_decoder_without_a_target_is_fed_the_text_also_where_inputs_are_ready() -> None:
    model, tokenizer = t5(), byte_level()
    lens = regard.attach(model, tokenizer)
    x = lens.encode(TEXTS)
    ready, texts = (feed(lens, given, None, None, 2).encode([0, 1]) for given in (x, TEXTS))
    for name in ("decoder_input_ids", "decoder_attention_mask"):
        assert torch.equal(ready[name], texts[name]) and name not in x
    bare = scan(model, tokenizer, {"input_ids": x["input_ids"][:1]})  # it has no padding, and needs no mask
    for one, other in zip(bare.examples, scanned("pair").examples[::2], strict=True):
        assert one.tokens == other.tokens and one.segments == other.segments
        np.testing.assert_allclose(one.scale, other.scale, rtol=1e-3)


def test_a_long_text_does_not_stretch_short_ones() -> None:
    lens = regard.attach(llama(), byte_level())
    texts = ["the dog", "the cat sat " * 30, "the mat", "the station"]
    items = feed(lens, texts, None, None, 3)
    shapes = [tuple(x["input_ids"].shape) for x in items.batches()]
    assert [rows for rows, _ in shapes] == [3, 1] and shapes[0][1] < 5 and shapes[1][1] > 80
    both = [scan(llama(), byte_level(), texts, batch_size=size).parts[0] for size in (1, 4)]
    for name, table in both[0].statistics.items():
        other = both[1].statistics[name]
        np.testing.assert_allclose(to_array(table.mean), to_array(other.mean), atol=1e-5, err_msg=name)
    assert both[0].lengths == both[1].lengths and max(both[0].lengths) > 80


def test_padded_tokens_of_a_batch_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regard.report.feed.PADDED", 20)
    lens = regard.attach(llama(), byte_level())
    items = feed(lens, ["the cat sat on the mat"] * 4 + ["the dog ran to Paris " * 5], None, None, 8)
    shapes = [tuple(x["input_ids"].shape) for x in items.batches()]
    assert shapes == [(3, 6), (1, 6), (1, 26)]


def test_what_cannot_be_scanned_says_so() -> None:
    from transformers import WhisperConfig, WhisperModel

    small = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
    speech = WhisperModel(WhisperConfig(**small, decoder_attention_heads=2, vocab_size=340, pad_token_id=0))
    with pytest.raises(ValueError, match="WhisperModel takes input_features, and only models of text and images"):
        scan(speech, byte_level(), TEXTS)
    with pytest.raises(ValueError, match="nothing to measure"):
        scan(llama(), byte_level(), [])
    model, processor, _ = kinds()["vision"]
    with pytest.raises(ValueError, match="takes images and no text"):
        scan(model, processor, TEXTS)
    with pytest.raises(ValueError, match="images for each of the 2 texts"):
        scan(*kinds()["vlm"][:2], CHATS, images=pictures(3))
    for kind in ("vision", "vlm"):
        model, processor, given = kinds()[kind]
        with pytest.raises(ValueError, match="max_tokens cuts texts, and neither images"):
            scan(model, processor, **given, max_tokens=8)
