"""Several lenses at once, copies, and models that are changed: composed or refused, never mixed up."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import regard

from .state import outputs, same, state
from .zoo import BERT, BLOOM, FALCON, LLAMA, T5, TORCH, Case, tokens

EDIT = regard.Redistribute("first", "rest", 0.6)


def edited(lens: Any, model: nn.Module, x: dict[str, Any]) -> torch.Tensor:
    with lens.edit(EDIT):
        return outputs(model, x)


@pytest.mark.parametrize("first_ends_first", [True, False])
@pytest.mark.parametrize("case", [LLAMA, T5, FALCON], ids=lambda case: case.name)
def test_lenses_on_two_models_overlap_in_any_order(case: Case, first_ends_first: bool) -> None:
    one, x = case.build(), case.inputs()
    other = copy.deepcopy(one)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    for module, twin in zip(one.modules(), other.modules(), strict=True):
        if hasattr(module, "config"):
            twin.config = module.config  # which carries the implementation of both
    lenses = [regard.attach(one), regard.attach(other)]
    models = [one, other]
    plain = [outputs(model, x) for model in models]
    expected = [edited(lens, model, x) for lens, model in zip(lenses, models, strict=True)]
    before = [state(model) for model in models]
    handles = [lens.install(EDIT) for lens in lenses]
    assert all(torch.equal(outputs(model, x), want) for model, want in zip(models, expected, strict=True))
    ends, stays = (0, 1) if first_ends_first else (1, 0)
    handles[ends].remove()
    assert torch.equal(outputs(models[ends], x), plain[ends])
    assert torch.equal(outputs(models[stays], x), expected[stays])
    handles[stays].remove()
    assert all(same(was, state(model)) for was, model in zip(before, models, strict=True))
    assert torch.equal(outputs(models[stays], x), plain[stays])


def test_the_fast_path_stays_off_until_the_last_listener_ends() -> None:
    models, x = [TORCH.build(), TORCH.build()], TORCH.inputs()
    lenses = [regard.attach(model) for model in models]
    first, second = lenses[0].install(EDIT), lenses[1].install(EDIT)
    first.remove()
    assert not torch.backends.mha.get_fastpath_enabled()
    outputs(models[1], x)
    second.remove()
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("case", [LLAMA, BLOOM, TORCH], ids=lambda case: case.name)
def test_a_model_is_copied_between_contexts_only(case: Case) -> None:
    model, x = case.build(), case.inputs()
    lens = regard.attach(model)
    plain = outputs(model, x)
    with lens.edit(EDIT):
        outputs(model, x)
        for copied in (copy.deepcopy, pickle.dumps):
            with pytest.raises(
                ValueError, match="copy or pickle it after the lens's context ends, or save its state_dict"
            ):
                copied(model)
        weights = model.state_dict()
    assert torch.equal(outputs(copy.deepcopy(model), x), plain)
    assert torch.equal(outputs(pickle.loads(pickle.dumps(model)), x), plain)
    model.load_state_dict(weights)


def test_a_model_saved_while_a_lens_listens_is_the_model(tmp_path: Path) -> None:
    model: Any = LLAMA.build()
    x = tokens()
    plain = outputs(model, x)
    with regard.attach(model).edit(EDIT):
        outputs(model, x)
        model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert loaded.config._attn_implementation == "sdpa"
    assert torch.equal(outputs(loaded, x), plain)


def test_a_configuration_copied_while_a_lens_listens_is_told() -> None:
    model: Any = LLAMA.build()
    x = tokens()
    with regard.attach(model).edit(EDIT):
        outputs(model, x)
        other = type(model)(copy.deepcopy(model.config)).eval()
        with pytest.raises(ValueError, match="a configuration was copied while a lens listened"):
            outputs(other, x)
    with pytest.raises(ValueError, match="set the copy's attention implementation anew"):
        regard.attach(other)
    other.set_attn_implementation("sdpa")
    regard.attach(other)


def test_choosing_an_implementation_while_a_lens_listens_is_refused() -> None:
    model: Any = LLAMA.build()
    x = tokens()
    lens = regard.attach(model)
    entropy = lens.measure(x, [regard.Entropy()])["entropy"].mean
    with lens.edit(regard.ScaleHeads([(0, 0)], 1.0)):
        outputs(model, x)
        model.set_attn_implementation("eager")
        with pytest.raises(ValueError, match="switched to 'eager' while a lens listened"):
            outputs(model, x)
    assert model.config._attn_implementation == "eager"
    torch.testing.assert_close(lens.measure(x, [regard.Entropy()])["entropy"].mean, entropy)


def replaced(case: Case, model: Any) -> tuple[nn.ModuleList, str, nn.Module]:
    """The blocks of a model, the name of the attention in them, and another attention for one."""
    blocks, name = {
        LLAMA.name: (lambda: (model.model.layers, "self_attn")),
        FALCON.name: (lambda: (model.transformer.h, "self_attention")),
        BERT.name: (lambda: (model.encoder.layer, "attention")),
    }[case.name]()
    new = copy.deepcopy(getattr(blocks[1], name))
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.mul_(1.5)
    return blocks, name, new


@pytest.mark.parametrize("case", [LLAMA, FALCON, BERT], ids=lambda case: case.name)
def test_a_module_that_is_replaced_is_heard_from_the_next_context_on(case: Case) -> None:
    model, x = case.build(), case.inputs()
    lens = regard.attach(model)
    was = edited(lens, model, x)
    blocks, name, new = replaced(case, model)
    old = getattr(blocks[1], name)
    setattr(blocks[1], name, new)
    want = edited(regard.attach(model), model, x)
    assert torch.equal(edited(lens, model, x), want) and not torch.equal(want, was)
    assert len(lens.measure(x, [regard.Entropy()]).sites) == len(blocks)
    setattr(blocks[1], name, old)
    assert torch.equal(edited(lens, model, x), was)
    before = state(model)
    with pytest.raises(ValueError, match=r"came into the model, or left it, while a lens listened"), lens.edit(EDIT):
        outputs(model, x)
        setattr(blocks[1], name, new)
        outputs(model, x)
    setattr(blocks[1], name, old)
    assert same(before, state(model))
