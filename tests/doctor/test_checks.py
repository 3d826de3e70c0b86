"""Every check: right on models that are right, Falcon's defect found and told, and each check seen to fail."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hosts.state import same, state
from hosts.zoo import (
    ALL,
    CLIP,
    DIFFUSION,
    FALCON,
    GPT_OSS,
    LLAMA,
    LLAVA,
    MODULES,
    QWEN2_5_VL,
    VIT,
    Case,
    noise,
)
from torch import Tensor, nn

import regard
from regard.doctor import Examination, examine
from regard.doctor.checks import maps as maps_check
from regard.doctor.checks import restored, row_sums
from regard.doctor.examination import CHECKS
from regard.doctor.inputs import short_inputs
from regard.edit import Interpolate
from regard.hosts import interface

MAPS, STATES = "the library's maps agree", "hidden states line up"
FAULTS = {FALCON.name: {MAPS}}
"""What is wrong with real models."""


def examined(case: Case) -> Examination:
    """The findings on a case, on inputs that the doctor makes up where it can."""
    own = case in (*MODULES, *DIFFUSION, CLIP, LLAVA, QWEN2_5_VL)
    return examine(regard.attach(case.build(), check=False), case.inputs() if own else None)


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_models_that_are_right(case: Case) -> None:
    found = examined(case)
    failed = {one.name for one in found.findings if one.verdict == "failed"}
    assert failed == FAULTS.get(case.name, set()), found
    assert {(one.part, one.role): one.count for one in found.sites} == dict(case.sites)
    assert {one.tier for one in found.sites} == {case.tier}
    assert len(found.findings) == len(CHECKS) and found.ok == (not failed)


def test_a_language_model_is_asked_everything() -> None:
    assert {one.verdict for one in examined(LLAMA).findings} == {"ok"}


def test_falcon_loses_causality_when_maps_are_asked_for() -> None:
    model = FALCON.build()
    found = examine(regard.attach(model))[MAPS]
    assert found.verdict == "failed" and found.deviation is not None and found.deviation > 0.1
    library, ours = found.sentence.split("; ours ")
    assert library.startswith("the library is wrong (sdpa): asking for maps moves the output by 0.")
    assert "puts 0.3 of its weight on later tokens" in library and "misses the model's output by 1.0e+00" in library
    assert ours.startswith("puts 0 of its weight on later tokens")
    assert found.sentence.endswith("loaded with attn_implementation='eager', its maps are ours")
    assert model.config._attn_implementation == "sdpa"
    model.config._attn_implementation = "eager"
    assert examine(regard.attach(model))[MAPS].verdict == "ok"


def test_a_model_that_sees_is_asked_of_its_text_alone_and_of_both() -> None:
    found = examine(regard.attach(LLAVA.build()))
    assert found.ok and [one.part for one in found.sites] == ["main", "vision"]
    assert found["no weight on the future"].verdict == found["a cache gives the same"].verdict == "ok"


def test_sink_logits_are_told() -> None:
    found = examined(GPT_OSS)["rows add up"]
    assert found.verdict == "ok" and found.sentence.startswith("at 2 of 2 sites sink logits take a share, 0.")


def test_attention_that_feeds_nothing_is_no_fault() -> None:
    model: Any = LLAVA.build()
    model.config.vision_feature_layer = -2
    found = examine(regard.attach(model, check=False), LLAVA.inputs())["every site is live"]
    assert found.verdict == "ok" and "1 feed nothing in this model itself (model.vision_tower" in found.sentence


def broken(name: str, model: nn.Module, x: dict[str, Any] | None = None) -> str:
    """The sentence of a check that must fail on a model."""
    found = examine(regard.attach(model, check=False), x)[name]
    assert found.verdict == "failed", found
    return found.sentence


class Block(nn.Module):
    """Attention through torch's function; `how` says what else it does with it."""

    def __init__(self, how: str = "") -> None:
        super().__init__()
        self.num_heads, self.how = 2, how
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        out = nn.functional.scaled_dot_product_attention(q, k, v)
        if self.how == "unused":
            out = torch.softmax(q @ k.mT, -1) @ v
        if self.how == "knows" and torch._C._len_torch_function_stack():
            out = out * 2
        return self.out(out.transpose(1, 2).flatten(2))


def built(how: str) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Block(how)).eval()


X = {"input": noise(2, 5, 8)}


def test_a_model_that_notices_the_lens() -> None:
    assert "outputs move as soon as a lens listens" in broken("listening changes nothing", built("knows"), X)


def test_a_site_that_is_not_used() -> None:
    assert "1 of 1 sites are dead; halving 0 " in broken("every site is live", built("unused"), X)


def test_attention_that_cannot_be_heard() -> None:
    class Deaf(nn.Module):
        def forward(self, input: Tensor) -> Tensor:
            return (input @ input.mT).exp() @ input

    found = examine(regard.attach(Deaf(), check=False), X)
    assert not found.ok and found.sites == []
    assert found["attention is heard"].sentence == "Deaf made no call of attention that can be seen"
    assert found["every site is live"].verdict == found["rows add up"].verdict == "failed"


def eager_llama(monkeypatch: pytest.MonkeyPatch, attend: Any) -> nn.Module:
    """A Llama whose own eager attention is another."""
    from transformers.models.llama import modeling_llama

    own = modeling_llama.eager_attention_forward

    def changed(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> Any:
        return attend(own, module, query, key, value, mask, **kwargs)

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", changed)
    model: Any = LLAMA.build()
    model.set_attn_implementation("eager")
    return model


def test_attention_that_is_not_what_it_is_called_with(monkeypatch: pytest.MonkeyPatch) -> None:
    def hotter(own: Any, *args: Any, scaling: float, **kwargs: Any) -> Any:
        return own(*args, scaling=2 * scaling, **kwargs)

    model = eager_llama(monkeypatch, hotter)
    assert broken("attention is read exactly", model).startswith("at 3 of 3 sites")
    assert broken(MAPS, model).startswith("regard is wrong (eager)")


def test_a_model_that_is_not_causal_though_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(own: Any, module: Any, query: Any, key: Any, value: Any, mask: Any, **kwargs: Any) -> Any:
        return own(module, query, key, value, None, **kwargs)

    said = broken("no weight on the future", eager_llama(monkeypatch, blind))
    assert said.endswith("the model itself is not causal, lens or not")


def test_a_mask_that_is_lost_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    mask = interface._core_mask
    monkeypatch.setattr(interface, "_core_mask", lambda *args: replace(mask(*args), causal=False, function=None))
    said = broken("no weight on the future", LLAMA.build())
    assert said == "without padding, queries at model.layers.0.self_attn give weight to later tokens or padding"


def test_padding_that_is_lost_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    mask = interface._core_mask

    def open_to_all(*args: Any) -> Any:
        plain = mask(*args)
        return plain if plain.function is None and plain.keys is None else replace(plain, function=None, keys=None)

    monkeypatch.setattr(interface, "_core_mask", open_to_all)
    assert broken("no weight on the future", LLAMA.build()).startswith("with padding, queries at")


def test_listening_that_takes_causality(monkeypatch: pytest.MonkeyPatch) -> None:
    from regard.hosts.recipe import Recipe

    monkeypatch.setattr(Recipe, "native", lambda self: None)
    model: Any = LLAMA.build()
    model.set_attn_implementation("eager")
    assert broken("no weight on the future", model).endswith("and only while the lens listens")


def test_decoding_that_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(own: Any, module: Any, query: Any, key: Any, value: Any, mask: Any, **kwargs: Any) -> Any:
        if query.shape[2] < key.shape[2]:
            value = value * 0.5
        return own(module, query, key, value, mask, **kwargs)

    model = eager_llama(monkeypatch, forgetful)
    assert broken("generation needs no cache", model).startswith("plain logits with a cache are not those")
    said = "the model's own outputs, no lens involved, behind a cache are not those of one pass"
    assert broken("a cache gives the same", model) == said


def test_edits_that_do_not_reach_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(self: Any, call: Any, state: Any) -> Iterator[Any]:
        from regard.core.effects import Out

        yield {}
        return Out(1.0)

    monkeypatch.setattr(Interpolate, "plan", nothing)
    assert "does not move the logits" in broken("generation needs no cache", LLAMA.build())
    assert "does not move the output" in broken("a cache gives the same", LLAMA.build())


def test_rows_that_lose_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = row_sums.weights
    monkeypatch.setattr(row_sums, "weights", lambda call: whole(call) * 0.99)
    for case in (LLAMA, GPT_OSS):
        assert broken("rows add up", case.build()).endswith("do not add up to 1")


def test_maps_of_ours_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = maps_check.weights
    monkeypatch.setattr(maps_check, "weights", lambda call: whole(call).flip(-1))
    assert broken(MAPS, LLAMA.build()).startswith("regard is wrong (eager): maps differ by")
    assert broken(MAPS, FALCON.build()).startswith("both are wrong (sdpa)")


def test_a_library_that_computes_otherwise_when_asked() -> None:
    model = LLAMA.build()

    def shift(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        if kwargs.get("output_attentions"):
            output.logits = output.logits + 1
        return output

    model.register_forward_hook(shift, with_kwargs=True)
    assert broken(MAPS, model).startswith("the library is wrong (eager): asking for maps moves the output by")


def test_hidden_states_that_are_shifted(monkeypatch: pytest.MonkeyPatch) -> None:
    lens = regard.attach(LLAMA.build())
    cache = lens.cache

    def late(x: Any, names: list[str], *, part: str | None = None) -> dict[str, Tensor]:
        found = cache(x, [name.replace("pre", "post") for name in names], part=part)
        return {name: found[name.replace("pre", "post")] for name in names}

    monkeypatch.setattr(lens, "cache", late)
    found = examine(lens)[STATES]
    assert found.verdict == "failed"
    assert found.sentence == "resid_pre.0 is not entry 0 of the library's hidden states, but entry 1"


def test_a_last_hidden_state_that_no_norm_explains(monkeypatch: pytest.MonkeyPatch) -> None:
    lens = regard.attach(LLAMA.build())
    cache = lens.cache
    monkeypatch.setattr(lens, "cache", lambda *args, **kwargs: {
        name: value + name.startswith("resid_post.2") for name, value in cache(*args, **kwargs).items()
    })  # fmt: skip
    assert "resid_post.2 is not entry 3" in examine(lens)[STATES].sentence


@pytest.mark.parametrize("left", ["hook", "implementation", "attribute", "weight", "edit"])
def test_a_lens_that_leaves_something_behind(left: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = LLAMA.build()
    lens = regard.attach(model)
    edit = lens.edit

    @contextmanager
    def careless(*edits: Any) -> Iterator[None]:
        with edit(*edits):
            yield
        match left:
            case "hook":
                model.model.register_forward_hook(lambda *args: None)
            case "implementation":
                model.config._attn_implementation = "eager"
            case "attribute":
                model.model.layers[0].kept = 1
            case "weight":
                with torch.no_grad():
                    model.lm_head.weight.mul_(1)
            case "edit":
                model.lm_head.register_forward_hook(lambda module, args, out: out + 1)

    monkeypatch.setattr(lens, "edit", careless)
    found = restored.check(model, lens, LLAMA.inputs())
    assert found.verdict == "failed"
    told = {"hook": "hooks", "implementation": "implementations", "attribute": "attributes", "weight": "weights"}
    assert told.get(left, "hooks") in found.sentence


def test_a_check_that_raises_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = LLAMA.build()
    lens = regard.attach(model)

    def cache(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("it has run out of tokens\nand of luck")

    monkeypatch.setattr(lens, "cache", cache)
    found = examine(lens)
    assert found[STATES].sentence == "RuntimeError: it has run out of tokens"
    assert sum(one.verdict == "failed" for one in found.findings) == 1


def test_a_model_that_generates_in_a_way_of_its_own_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = LLAMA.build()
    lens = regard.attach(model)
    generate = model.generate

    def listening(**kwargs: Any) -> Any:
        if torch._C._len_torch_function_stack() or lens._tap._listening:
            raise RuntimeError("it has run out of tokens")
        return generate(**kwargs)

    monkeypatch.setattr(model, "generate", listening)
    assert examine(lens)["generation needs no cache"].verdict == "failed"  # without a lens it does

    def never(**kwargs: Any) -> None:
        raise RuntimeError("it wants a prompt that is spoken")

    monkeypatch.setattr(model, "generate", never)
    found = examine(lens)["generation needs no cache"]
    assert found.verdict == "not applicable" and found.sentence.endswith(
        "RuntimeError: it wants a prompt that is spoken"
    )


def test_the_model_is_as_it_was() -> None:
    model: Any = LLAMA.build()
    model.train()
    model.model.layers[1].eval()
    examine(regard.attach(model))  # the library's recorder keeps hooks of its own after its first use
    before, modes = state(model), [module.training for module in model.modules()]
    examine(regard.attach(model))
    assert same(before, state(model)) and modes == [module.training for module in model.modules()]


def test_what_a_tokenizer_gives_and_a_model_does_not_take_is_left_out() -> None:
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from regard.cli import _load

    tokenizer = AutoTokenizer.from_pretrained(_load.demo_model()[1])  # a BERT's, with token_type_ids
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **small))
    lens = regard.attach(model, tokenizer)
    assert list(short_inputs(lens)) == ["input_ids"]
    assert tokenizer.decode(short_inputs(lens)["input_ids"][0]).startswith("[CLS] the old map")
    assert examine(lens).ok


def test_inputs_have_to_be_known() -> None:
    class Own(nn.Module):
        def forward(self, signal: Tensor) -> Tensor:
            return signal

    with pytest.raises(ValueError, match=r"no short inputs are known that Own takes: give some, lens\.doctor\(x\)"):
        examine(regard.attach(Own(), check=False))


def test_bfloat16_passes_by_its_own_digits() -> None:
    found = examine(regard.attach(LLAMA.build().bfloat16()))
    assert found.ok and found.dtype == "bfloat16", found


def test_as_json_and_text() -> None:
    found = examined(VIT)
    written = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert written["schema"] == "regard.doctor/1" and written["ok"] is True
    assert written["sites"] == [{"part": "main", "role": "self", "tier": "interface", "count": 2}]
    assert [one["name"] for one in written["findings"]] == [one.name for one in found.findings]
    assert set(written["versions"]) == {"regard", "torch", "transformers"}
    assert repr(found).startswith("ViTModel, float32, cpu; attention: 2 x main self by interface\n")
    assert "not applicable" in repr(found)
    with pytest.raises(KeyError, match="no check is called 'luck'"):
        found["luck"]


def test_inputs_for_models_of_sound() -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    found = examine(regard.attach(Wav2Vec2Model(Wav2Vec2Config(**small)), check=False))
    assert found.ok and [one.count for one in found.sites] == [2], found


def test_hidden_states_that_are_not_one_per_block() -> None:
    from transformers import SwinConfig, SwinModel

    config = SwinConfig(image_size=32, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4)
    found = examine(regard.attach(SwinModel(config), check=False))
    assert found.ok and found[STATES].verdict == "not applicable", found
