"""Visual attention redistribution, held to the paper's equations written out on maps, in models whose sinks are planted."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hosts.zoo import multimodal
from torch import Tensor, nn

import regard
from regard.edit.visual_sinks import RedistributeVisualSinks, sink_strength
from regard.lens.sink_dims import find_sink_dims
from regard.papers.visual_attention_redistribution import written_out

BOS, IMAGE, DIM = 1, 60, 7
PLANTED = (4, 9, 15)
"""Of the 16 patches of an image."""
LAYERS = (2, 3)


@cache
def llava() -> Any:
    """A LLaVA of width 512 whose BOS, and three patches of each image, are huge in one dimension."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(0)
    text = LlamaConfig(
        vocab_size=64, hidden_size=512, intermediate_size=64, num_hidden_layers=5, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.05,
    )  # fmt: skip
    vision = CLIPVisionConfig(**multimodal.TOWER)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=IMAGE, vision_feature_layer=-1)
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.get_input_embeddings().weight[BOS, DIM] = 100.0
    model.model.multi_modal_projector.register_forward_hook(planted)
    return model


def planted(module: nn.Module, args: Any, out: Tensor) -> Tensor:
    out = out.clone()
    out[:, list(PLANTED), DIM] = 100.0
    return out


def inputs(texts: Sequence[int] = (6,), images: Sequence[int] = (1,)) -> dict[str, Tensor]:
    """Texts of BOS, images and some tokens, padded on the left."""
    generator = torch.Generator().manual_seed(3)
    rows = [
        torch.cat(
            [torch.tensor([BOS]), torch.full((16 * n,), IMAGE), torch.randint(3, 59, (length,), generator=generator)]
        )
        for length, n in zip(texts, images, strict=True)
    ]
    width = max(len(row) for row in rows)
    ids = torch.stack([torch.nn.functional.pad(row, (width - len(row), 0)) for row in rows])
    mask = torch.stack([torch.arange(width) >= width - len(row) for row in rows]).long()
    pixels = torch.randn(sum(images), 3, 16, 16, generator=generator)
    return {"input_ids": ids, "attention_mask": mask, "pixel_values": pixels}


def edit(**given: Any) -> RedistributeVisualSinks:
    return RedistributeVisualSinks(**{"dims": (DIM,), "layers": LAYERS, "tau": 20.0, "min_image_mass": 0.1, **given})


def logits(x: dict[str, Tensor], *edits: Any) -> Tensor:
    lens = regard.attach(llava(), check=False)
    with lens.edit(*edits) if edits else nullcontext(), torch.no_grad():
        result: Tensor = llava()(**x).logits
    return result


@pytest.mark.parametrize("layer", LAYERS)
def test_planted_sinks_are_found_and_no_others(layer: int) -> None:
    lens = regard.attach(llava(), check=False)
    x = inputs()
    resid = lens.cache(x, [f"resid_pre.{layer}"])[f"resid_pre.{layer}"]
    found = (sink_strength(resid, (DIM,)) > 20).nonzero()[:, 1].tolist()
    assert found == [0, *(1 + place for place in PLANTED)]


def test_the_finder_finds_the_dimension_of_bos_in_every_text() -> None:
    lens = regard.attach(llava(), check=False)
    texts = [{"input_ids": torch.tensor([[BOS, 5 + place, 9]])} for place in range(3)]
    found = find_sink_dims(lens, texts)
    assert (found.dims, found.layers, found.stability) == ((DIM,), LAYERS, 1.0)
    assert find_sink_dims(lens, [{"input_ids": torch.tensor([[5, 6]])}]).dims == ()
    with pytest.raises(ValueError, match="0 and 2"):
        find_sink_dims(lens, [])


@pytest.mark.parametrize("given", [{}, {"move": 1.0, "min_nonsink_share": 0.8}, {"min_image_mass": 0.78}])
def test_weights_are_those_of_the_equations(given: dict[str, Any]) -> None:
    lens = regard.attach(llava(), check=False)
    x, one = inputs(), edit(layers=(2,), **given)
    plain = lens.weights(x, 2)[0]
    with lens.edit(one):
        edited = lens.weights(x, 2)[0]
        z = lens.cache(x, ["z.2", "v.2"])
    expected = written_out(
        plain, [0, *(1 + place for place in PLANTED)], range(1, 17), one.move, one.min_image_mass, one.min_nonsink_share
    )
    torch.testing.assert_close(edited, expected, atol=1e-5, rtol=0)
    assert (edited.sum(-1) - 1).abs().max() <= 1e-6
    assert (edited - plain).abs().max() > 1e-3
    v = z["v.2"][0].repeat_interleave(2, 0)
    torch.testing.assert_close(z["z.2"][0], expected @ v, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("neutral", [{"move": 0.0}, {"min_nonsink_share": 1.1}, {"tau": 22.62}])
def test_without_effect_it_is_bit_equal(neutral: dict[str, Any]) -> None:
    x = inputs()
    assert torch.equal(logits(x, edit(**neutral)), logits(x))
    assert not torch.equal(logits(x, edit()), logits(x))


def test_an_example_without_an_image_keeps_its_output_and_a_batch_without_any_is_told() -> None:
    x = inputs((6, 20), (1, 0))
    assert torch.equal(logits(x, edit())[1], logits(x)[1])
    text = {"input_ids": x["input_ids"][1:, -20:]}
    with pytest.raises(ValueError, match="changed nothing"):
        logits(text, edit())


def test_padded_examples_with_one_image_and_two_are_as_they_are_alone() -> None:
    x = inputs((6, 9), (1, 2))
    both = logits(x, edit())
    for row, pixels in enumerate((slice(0, 1), slice(1, 3))):
        real = x["attention_mask"][row].bool()
        alone = {"input_ids": x["input_ids"][row : row + 1, real], "pixel_values": x["pixel_values"][pixels]}
        torch.testing.assert_close(both[row, real], logits(alone, edit())[0], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("prompt", [17, 20])
def test_cached_decoding_is_recomputation_with_the_sinks_of_the_prompt(prompt: int) -> None:
    """The tokens behind the prompt are no sinks here, so recomputation finds the same."""
    from transformers import DynamicCache

    model, x, one = llava(), inputs(), edit()
    whole = logits(x, one)
    lens, past = regard.attach(model, check=False), DynamicCache(config=model.config.get_text_config())
    with lens.edit(one), torch.no_grad():
        first = {**x, "input_ids": x["input_ids"][:, :prompt], "attention_mask": x["attention_mask"][:, :prompt]}
        parts = [model(**first, past_key_values=past).logits]
        for at in range(prompt, 23):
            step = {"input_ids": x["input_ids"][:, at : at + 1], "attention_mask": x["attention_mask"][:, : at + 1]}
            parts.append(model(**step, past_key_values=past).logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=2e-5, rtol=1e-4)


def test_a_later_token_never_becomes_a_sink() -> None:
    from transformers import DynamicCache

    model, x, one = llava(), inputs(), edit(layers=(2,), min_image_mass=0.0)
    lens, past = regard.attach(model, check=False), DynamicCache(config=model.config.get_text_config())
    found: list[Tensor] = []

    def probe(call: Any, patchwork: Any) -> None:
        found.append(call.session.state(one, call.site).get("sinks"))

    with lens.edit(one), lens._probing(probe), torch.no_grad():
        model(**x, past_key_values=past)
        model(input_ids=torch.tensor([[BOS]]), past_key_values=past)
    kept = [table for table in found if table is not None]
    assert len(kept) == 2 and torch.equal(kept[0], kept[1])


def test_giving_to_the_rest_leaves_the_image_as_it_is() -> None:
    lens, x = regard.attach(llava(), check=False), inputs()
    plain = lens.weights(x, 2)[0]
    with lens.edit(edit(layers=(2,), give_to="rest")):
        edited = lens.weights(x, 2)[0]
    shown = [key for key in range(1, 17) if key - 1 not in PLANTED]
    assert torch.equal(edited[..., shown], plain[..., shown])
    assert (edited[:, -1, 17:].sum(-1) > plain[:, -1, 17:].sum(-1)).any()
    torch.testing.assert_close(edited.sum(-1), plain.sum(-1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("case", [multimodal.LLAVA, multimodal.QWEN2_5_VL], ids=lambda case: case.name)
def test_only_the_chosen_text_layers_of_a_family_are_edited(case: Any) -> None:
    model, x = case.build(), case.inputs()
    lens = regard.attach(model, check=False)
    one = RedistributeVisualSinks((0, 1), layers=(1,), tau=1.0, min_image_mass=0.0, min_nonsink_share=0.0)
    lines = lens.explain(one, x=x).lines
    assert {(line.site.part, line.site.layer) for line in lines} == {("main", 1)}
    name = "resid_pre.1"
    sinks = sink_strength(lens.cache(x, [name])[name], (0, 1)) > 1.0
    plain = lens.weights(x, 1)
    with lens.edit(one):
        edited = lens.weights(x, 1)
    image = x["input_ids"] == IMAGE
    for row in range(len(image)):
        places = image[row].nonzero()[:, 0].tolist()
        expected = written_out(plain[row], sinks[row].nonzero()[:, 0].tolist(), places, 0.6, 0.0, 0.0)
        torch.testing.assert_close(edited[row], expected, atol=1e-5, rtol=0)
    assert (edited - plain).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"dims": ()}, "no sink dimensions"),
        ({"move": 1.5}, "between 0 and 1"),
        ({"phase": "decode"}, "prompt's own pass"),
        ({"queries": "last"}, "behind the image"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        edit(**given)
    with pytest.raises(ValueError, match="can stand out"):
        logits(inputs(), edit(tau=23.0))


def test_it_is_data() -> None:
    values, tensors = regard.edit.to_json([edit(min_nonsink_share=0.9)])
    again = regard.edit.from_json(values, tensors)[0]
    assert isinstance(again, RedistributeVisualSinks)
    assert torch.equal(logits(inputs(), again), logits(inputs(), replace(edit(), min_nonsink_share=0.9)))
