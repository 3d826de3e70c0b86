"""Inputs that the doctor makes up, and what it makes of a check on two of them."""

import pytest
import torch
from breadth.transformers_models import build
from torch import nn

import regard
from regard.doctor import Finding
from regard.doctor.inputs import alone, short_inputs, tokens_of
from regard.doctor.media import with_media
from regard.doctor.passes import apart, run
from regard.lens.outputs import tensors

MADE = {
    "audio_spectrogram_transformer": {"input_values"},
    "lasr": {"input_features"},
    "bros": {"input_ids", "bbox"},
    "patchtst": {"past_values"},
    "segformer": {"pixel_values"},
    "vivit": {"pixel_values"},
}
WITH_MEDIA = {
    "gemma3": {"input_ids", "pixel_values"},
    "glmasr": {"input_ids", "input_features"},
    "llava": {"input_ids", "pixel_values"},
    "qwen2_vl": {"input_ids", "pixel_values", "image_grid_thw", "mm_token_type_ids"},
}


def model_of(family: str) -> nn.Module:
    """A small model of a family of transformers."""
    return build(family).model


@pytest.mark.parametrize("family", MADE, ids=lambda family: family)
def test_short_inputs_are_of_the_kind_that_a_model_takes(family: str) -> None:
    model = model_of(family)
    x = short_inputs(regard.attach(model, check=False))
    assert x.keys() - {"input_features_mask", "attention_mask"} == MADE[family]
    assert all(len(value) == 2 for value in x.values()) and tensors(run(model, x))


@pytest.mark.parametrize("family", WITH_MEDIA, ids=lambda family: family)
def test_a_medium_stands_in_the_text_and_moves_the_output(family: str) -> None:
    model = model_of(family)
    (x,) = with_media(regard.attach(model, check=False))
    medium = next(name for name in x if name.startswith(("pixel", "input_features")))
    assert WITH_MEDIA[family] <= x.keys() and not alone(x)
    assert apart(tensors(run(model, {**x, medium: -x[medium]})), tensors(run(model, x))) > 1e-3


def test_ids_that_are_rows_of_something_else_are_no_tokens_of_examples() -> None:
    ids = torch.ones(2, 5, dtype=torch.long)
    assert alone({"input_ids": ids, "attention_mask": ids}) and not alone({"input_ids": ids, "bbox": ids})
    assert tokens_of({"input_ids": ids, "decoder_input_ids": ids.repeat(4, 1)}) is None
    assert tokens_of({"input_ids": ids, "decoder_input_ids": ids}) is not None


def test_of_two_findings_the_worse_is_told() -> None:
    ok, far = Finding("a", "ok", 0.0, ""), Finding("a", "ok", 0.1, "")
    none, failed = Finding("a", "not applicable", None, ""), Finding("a", "failed", 0.0, "")
    theirs = Finding("a", "failed", 0.5, "", "the model's")
    assert ok.with_other(far) is far and none.with_other(ok) is ok
    assert far.with_other(failed) is failed and theirs.with_other(failed) is failed


def test_a_second_use_of_a_module_that_feeds_nothing_is_no_fault() -> None:
    built = build("lxmert")
    found = regard.attach(built.model, check=False).doctor(built.x)["every site is live"]
    assert found.verdict == "ok" and "feed nothing" in found.sentence


def test_hidden_states_of_other_places_are_not_laid_beside_ours() -> None:
    found = regard.attach(model_of("patchtst"), check=False).doctor()["hidden states line up"]
    assert found.verdict == "not applicable" and "follow each other" in found.sentence


def test_a_fault_of_the_model_itself_is_not_ours() -> None:
    found = regard.attach(model_of("jamba"), check=False).doctor()["a cache gives the same"]
    assert found.verdict == "failed" and found.whose == "the model's"
