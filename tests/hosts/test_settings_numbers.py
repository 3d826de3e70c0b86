"""Precision and gradients: autocast, a model that changes its dtype, inference mode, gradient checkpointing."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard

from .maps import own_maps
from .state import outputs
from .zoo import BERT, BLOOM, FALCON, GEMMA3, GPT2, GPT_OSS, LLAMA, T5, UNET, Case, tokens

BFLOAT16 = 2**-8
"""The rounding of bfloat16, relative."""


def autocast() -> Any:
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("case", [LLAMA, GPT2, GEMMA3, GPT_OSS, T5, BLOOM, FALCON, UNET], ids=lambda case: case.name)
def test_autocast_lowers_what_the_model_computes_and_not_what_is_measured(case: Case) -> None:
    model, x = case.build(), case.inputs()
    lens = regard.attach(model)
    with autocast():
        plain = outputs(model, x)
        assert plain.dtype == torch.bfloat16
        found = lens.measure(x, [regard.Entropy(), regard.Received()])
        assert found.deviation < 1e-5  # of float32 on rounded queries and keys; in bfloat16 it would be above 1e-3
        with lens.edit(regard.ScaleHeads([(0, 0)], 1.0)):
            assert torch.equal(outputs(model, x), plain)
        with lens.edit(regard.Redistribute("first", "rest", 0.6)):
            edited = outputs(model, x)
        assert edited.dtype == torch.bfloat16 and (edited - plain).abs().max() > 1e-2
        assert torch.equal(outputs(model, x), plain)


@pytest.mark.parametrize("case", [LLAMA, GPT2, BERT], ids=lambda case: case.name)
def test_autocast_weights_are_those_of_rounded_queries_and_keys(case: Case) -> None:
    model, x = case.build(), case.inputs()
    lens = regard.attach(model)
    valid = x["attention_mask"].bool()
    with autocast():
        for layer, (_, expected) in enumerate(own_maps(case, model, x)):
            got = lens.weights(x, layer)
            for row in range(len(valid)):  # the library rounds its scores, too, of which the largest are below 4
                torch.testing.assert_close(
                    got[row][:, valid[row]].float(), expected[row][:, valid[row]].float(), atol=4 * BFLOAT16, rtol=0
                )


def test_a_zeroed_head_under_autocast_is_a_zeroed_slice() -> None:
    model, x = LLAMA.build(), tokens()
    lens = regard.attach(model)
    projection = model.model.layers[1].self_attn.o_proj  # type: ignore[operator, union-attr, index]

    def zero(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        heads = args[0].unflatten(-1, (4, -1)).clone()
        heads[..., 2, :] = 0
        return (heads.flatten(-2),)

    with autocast():
        with lens.edit(regard.ZeroHeads([(1, 2)])):
            edited = outputs(model, x)
        hook = projection.register_forward_pre_hook(zero)
        assert torch.equal(outputs(model, x), edited)
        hook.remove()
        assert not torch.equal(outputs(model, x), edited)


@pytest.mark.parametrize("case", [LLAMA, BLOOM, FALCON], ids=lambda case: case.name)
def test_a_model_may_change_its_dtype_while_a_lens_listens(case: Case) -> None:
    model, x = case.build(), tokens(1)  # BLOOM in float64 gives NaN for padding
    lens = regard.attach(model)
    edit, statistics = regard.Redistribute("first", "rest", 0.6), [regard.Entropy()]
    handle = lens.install(edit)
    edited, entropy = outputs(model, x), lens.measure(x, statistics)["entropy"].mean
    model.double()
    torch.testing.assert_close(outputs(model, x).float(), edited, atol=1e-4, rtol=1e-4)
    assert outputs(model, x).dtype == torch.float64
    torch.testing.assert_close(lens.measure(x, statistics)["entropy"].mean, entropy, atol=1e-5, rtol=1e-4)
    model.bfloat16()
    assert outputs(model, x).dtype == torch.bfloat16
    handle.remove()
    rounded = case.build().bfloat16()
    with regard.attach(rounded).edit(edit):
        again = outputs(rounded, x)
    with lens.edit(edit):
        assert torch.equal(outputs(model, x), again)


def test_inference_mode() -> None:
    model, x = LLAMA.build(), tokens()
    lens = regard.attach(model)
    expected = lens.measure(x, [regard.Entropy()])["entropy"].mean
    with lens.edit(regard.Redistribute("first", "rest", 0.6)):
        edited = outputs(model, x)
        with torch.inference_mode():
            assert torch.equal(model(**x).logits, edited)
    with torch.inference_mode():
        found = lens.measure(x, [regard.Entropy()])["entropy"].mean
    assert torch.equal(found, expected)
    found.add(1).sum().requires_grad_().backward()


@pytest.mark.parametrize("lowered", [False, True])
@pytest.mark.parametrize("case", [GPT2, GEMMA3, T5, BLOOM, FALCON], ids=lambda case: case.name)
def test_gradient_checkpointing_meets_the_edit_again(case: Case, lowered: bool) -> None:
    model: Any = case.build()
    x = case.inputs()
    labels = x.pop("decoder_input_ids", x["input_ids"])
    x.pop("decoder_attention_mask", None)
    lens = regard.attach(model)

    def gradients(*edits: Any) -> list[Tensor]:
        model.zero_grad()
        with lens.edit(*edits), torch.autocast("cpu", torch.bfloat16, enabled=lowered):
            model(**x, labels=labels).loss.backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    edit = regard.Redistribute("first", "rest", 0.5, heads=[(0, 1), (1, 3)])
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0
    unedited, plain = gradients(), gradients(edit)
    model.train()
    model.config.use_cache = False
    model.gradient_checkpointing_enable({"use_reentrant": False})
    again = gradients(edit)
    # Bit by bit in float32 but for the order of sums.
    tolerance = {"atol": 1e-2, "rtol": 2e-2} if lowered else {"atol": 1e-5, "rtol": 1e-4}
    for a, b in zip(again, plain, strict=True):
        torch.testing.assert_close(a, b, **tolerance)
    assert max((a - b).abs().max() for a, b in zip(plain, unedited, strict=True)) > 1e-3
