"""Choosing and reinforcing vision heads, held to a plain restatement on two streams, in a LLaVA with random weights."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from hosts.zoo import multimodal
from hosts.zoo.case import noise
from hosts.zoo.decoders import GROUPED
from torch import Tensor

import regard
from regard.edit import ScaleHeads, from_json, to_json
from regard.edit.reinforce import ReinforceHeads
from regard.lens.vision_heads import choose, default_layers, vision_heads, with_and_without

IMAGE, LAYERS, HEADS, WIDTH = 60, 4, 4, 8


@cache
def llava() -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    torch.manual_seed(0)
    text = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=2, initializer_range=0.2, pad_token_id=0, eos_token_id=None,
    )  # fmt: skip
    vision = CLIPVisionConfig(**multimodal.TOWER)
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=IMAGE, vision_feature_layer=-1)
    return LlavaForConditionalGeneration(config).eval()


def _llava_next() -> tuple[Any, dict[str, Any]]:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaNextConfig, LlavaNextForConditionalGeneration

    vision, text = CLIPVisionConfig(**multimodal.TOWER), LlamaConfig(**GROUPED, eos_token_id=None)
    config = LlavaNextConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, image_grid_pinpoints=[[32, 16], [16, 32]]
    )
    # The whole picture has 16 patches, its two tiles 8 rows of 4, each with an end of line.
    given = {"pixel_values": noise(2, 3, 3, 16, 16), "image_sizes": torch.tensor([[32, 16], [32, 16]])}
    return LlavaNextForConditionalGeneration(config), {**multimodal._image_and_text(16 + 8 * 5), **given}


def _internvl() -> tuple[Any, dict[str, Any]]:
    from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLVisionConfig, Qwen2Config

    vision, text = InternVLVisionConfig(**multimodal.TOWER), Qwen2Config(**GROUPED, eos_token_id=None)
    config = InternVLConfig(vision_config=vision, text_config=text, image_token_id=IMAGE)
    return InternVLForConditionalGeneration(config), {
        **multimodal._image_and_text(4),
        "pixel_values": noise(2, 3, 16, 16),
    }


def _qwen2_5_vl() -> tuple[Any, dict[str, Any]]:
    return multimodal.QWEN2_5_VL.build(), multimodal.QWEN2_5_VL.inputs()


def inputs(texts: Sequence[int]) -> dict[str, Tensor]:
    """Prompts of BOS, an image and some tokens, padded on the left."""
    generator = torch.Generator().manual_seed(3)
    rows = [
        torch.cat([torch.tensor([1]), torch.full((16,), IMAGE), torch.randint(3, 59, (n,), generator=generator)])
        for n in texts
    ]
    width = max(len(row) for row in rows)
    ids = torch.stack([torch.nn.functional.pad(row, (width - len(row), 0)) for row in rows])
    size = multimodal.TOWER["image_size"]
    pixels = torch.randn(len(rows), 3, size, size, generator=generator)
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "pixel_values": pixels}


def one(x: dict[str, Tensor], row: int) -> dict[str, Tensor]:
    real = x["attention_mask"][row].bool()
    return {
        "input_ids": x["input_ids"][row : row + 1, real],
        "attention_mask": x["attention_mask"][row : row + 1, real],
        "pixel_values": x["pixel_values"][row : row + 1],
    }


class Columns:
    """Scale chosen heads where they enter the output projection, by hooks, and keep what enters."""

    def __init__(self, alpha: float) -> None:
        self.alpha, self.chosen, self.seen = alpha, {}, {}  # type: ignore[var-annotated]

    def hook(self, layer: int) -> Any:
        def before(module: Any, args: tuple[Tensor]) -> tuple[Tensor]:
            z = args[0].unflatten(-1, (HEADS, WIDTH))
            self.seen[layer] = z[0, -1]
            if layer in self.chosen:
                z = z * torch.where(self.chosen[layer], self.alpha, 1.0)[:, None]
            return (z.flatten(-2),)

        return before

    def __call__(self, x: dict[str, Tensor]) -> Tensor:
        layers = llava().model.language_model.layers
        handles = [block.self_attn.o_proj.register_forward_pre_hook(self.hook(at)) for at, block in enumerate(layers)]
        try:
            with torch.no_grad():
                logits: Tensor = llava()(**x).logits
        finally:
            for handle in handles:
                handle.remove()
        return logits


def plainly(x: dict[str, Tensor], layers: Sequence[int], alpha: float, text_too: bool) -> tuple[dict[int, Any], Tensor]:
    """Choose layer after layer by whole passes over one prompt and the same without its image."""
    gone = x["input_ids"] != IMAGE
    text = {"input_ids": x["input_ids"][gone][None]}
    full_run, text_run = Columns(alpha), Columns(alpha)
    for layer in layers:
        full_run(x)
        text_run(text)
        a, b = full_run.seen[layer], text_run.seen[layer]
        far, active = (a - b).pow(2).sum(-1).sqrt(), b.pow(2).sum(-1)
        out = (far > far.mean() + far.std(correction=0)) & (active > active.mean() + active.std(correction=0))
        far = torch.where(out, torch.zeros(()), far)
        low, high = far.sort().values[HEADS // 2 - 1 : HEADS // 2 + 1]
        full_run.chosen[layer] = far > (low + high) / 2
        if text_too:
            text_run.chosen[layer] = full_run.chosen[layer]
    return full_run.chosen, full_run(x)


@pytest.mark.parametrize("text_too", [True, False])
@pytest.mark.parametrize("layers", [(0, 1, 2, 3), (1, 3)])
def test_heads_and_logits_are_those_of_whole_passes_with_scaled_columns(
    layers: tuple[int, ...], text_too: bool
) -> None:
    x, lens = inputs([5, 3, 7, 4]), regard.attach(llava())
    found = vision_heads(lens, x, layers=layers, alpha=3.0, reinforce_text=text_too)
    with lens.edit(found.edit()), torch.no_grad():
        logits = llava()(**x).logits
    for row in range(4):
        chosen, wanted = plainly(one(x, row), layers, 3.0, text_too)
        assert torch.equal(found.chosen[:, row], torch.stack([chosen[layer] for layer in layers]))
        assert torch.allclose(logits[row, -wanted.shape[1] :], wanted[0], atol=1e-5, rtol=1e-5)


def test_alpha_of_one_changes_no_bit_and_the_same_prompt_has_no_vision_heads() -> None:
    x, lens = inputs([5, 3]), regard.attach(llava())
    found = vision_heads(lens, x, layers=range(LAYERS), alpha=1.0)
    with torch.no_grad():
        plain = llava()(**x).logits
        with lens.edit(found.edit()):
            assert torch.equal(llava()(**x).logits, plain)
    assert not choose(torch.zeros(2, HEADS), torch.rand(2, HEADS)).any()


def test_outliers_are_dropped_only_where_heads_are_active_without_the_image() -> None:
    far = torch.tensor([9.0, 2.0, 1.0, 3.0])
    assert choose(far, torch.tensor([9.0, 1.0, 1.0, 1.0])).tolist() == [False, True, False, True]
    assert choose(far, torch.tensor([1.0, 1.0, 1.0, 9.0])).tolist() == [True, False, False, True]
    assert choose(far, torch.tensor([9.0, 1.0, 1.0, 1.0]), outliers=False).tolist() == [True, False, False, True]


def test_a_masked_image_gives_the_heads_of_a_removed_one_where_positions_are_rotary() -> None:
    # Without the image between them, BOS and text are nearer to each other: the two agree only from the image on.
    x, lens = inputs([5, 3]), regard.attach(llava())
    x = {**x, "input_ids": x["input_ids"].clone(), "attention_mask": x["attention_mask"] * (x["input_ids"] != 1)}
    both = [vision_heads(lens, x, layers=range(LAYERS), image=image) for image in ("removed", "masked")]  # type: ignore[arg-type]
    assert torch.allclose(both[0].divergence, both[1].divergence, atol=1e-4)


@pytest.mark.parametrize("beams", [1, 2])
def test_cached_decoding_is_a_pass_over_everything_with_the_same_heads(beams: int) -> None:
    x, lens = inputs([5, 3]), regard.attach(llava())
    edit = vision_heads(lens, x, layers=range(LAYERS), alpha=3.0).edit()
    with lens.edit(edit), torch.no_grad():
        out = llava().generate(
            **x, max_new_tokens=5, do_sample=False, num_beams=beams, output_logits=True, return_dict_in_generate=True
        )
        if beams == 1:
            mask = torch.nn.functional.pad(x["attention_mask"], (0, 5), value=1)
            whole = llava()(**{**x, "input_ids": out.sequences, "attention_mask": mask}).logits
            assert torch.allclose(torch.stack(out.logits, 1), whole[:, -6:-1], atol=1e-4)
    for row in range(2):
        alone = ReinforceHeads(edit.heads, edit.chosen[row : row + 1], 3.0)
        with lens.edit(alone):
            single = llava().generate(**one(x, row), max_new_tokens=5, do_sample=False, num_beams=beams)
        assert torch.equal(single[0, -5:], out.sequences[row, -5:])


@pytest.mark.parametrize("family", [_llava_next, _internvl, _qwen2_5_vl])
def test_other_families_measure_what_two_separate_runs_do(family: Callable[[], tuple[Any, dict[str, Any]]]) -> None:
    torch.manual_seed(0)
    model, x = family()
    lens = regard.attach(model.eval())
    names, kept = ["z.0", "z.1"], (x["input_ids"][0] != IMAGE).nonzero()[:, 0]
    measured = vision_heads(lens, x, layers=(0, 1), alpha=1.0)
    per_token = {"input_ids", "attention_mask"}
    full, text = lens.cache(x, names), lens.cache({name: x[name][:, kept] for name in per_token}, names)
    for layer, name in enumerate(names):
        far = (full[name][:, :, -1] - text[name][:, :, -1]).norm(dim=-1)
        torch.testing.assert_close(measured.divergence[layer], far, atol=1e-5, rtol=1e-4)
    found = vision_heads(lens, x, layers=(0, 1), alpha=3.0)
    plain = model.generate(**x, max_new_tokens=2, do_sample=False, output_logits=True, return_dict_in_generate=True)
    with lens.edit(found.edit()):
        out = model.generate(**x, max_new_tokens=2, do_sample=False, output_logits=True, return_dict_in_generate=True)
    scaled = [ScaleHeads([(at, head) for at in (0, 1) for head in range(4) if found.chosen[at, 0, head]], 3.0)]
    with lens.edit(*scaled):
        fixed = model.generate(**x, max_new_tokens=2, do_sample=False, output_logits=True, return_dict_in_generate=True)
    assert found.chosen.sum() == 2 * 2 * 2
    for step in range(2):
        torch.testing.assert_close(out.logits[step][0], fixed.logits[step][0], atol=1e-5, rtol=1e-4)
    assert (out.logits[0][0] - plain.logits[0][0]).abs().max() > 1e-3


def test_the_edit_is_data() -> None:
    edit = vision_heads(regard.attach(llava()), inputs([5, 3]), layers=(1, 2)).edit(last_only=True)
    (back,) = from_json(*to_json([edit]))
    assert isinstance(back, ReinforceHeads) and torch.equal(back.chosen, edit.chosen)
    assert back.since == ("prompt_end", -1) and list(map(tuple, back.heads)) == list(edit.heads)


def test_requests_that_cannot_be_met_are_refused() -> None:
    x, lens = inputs([5, 3]), regard.attach(llava())
    with pytest.raises(ValueError, match="no layers"):
        vision_heads(lens, x, layers=())
    with pytest.raises(ValueError, match="no layer 9"):
        vision_heads(lens, x, layers=(1, 9))
    with pytest.raises(ValueError, match="no image token"):
        with_and_without({"input_ids": torch.ones(1, 3, dtype=torch.long)}, [IMAGE])


def test_default_layers_are_the_papers_for_32() -> None:
    assert default_layers(32) == (1, *range(18, 32))
