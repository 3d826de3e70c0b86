"""Attention that is no softmax of scores, by a module's own design: it is measured and edited as what it is."""

from collections.abc import Generator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface
from transformers.modeling_utils import AttentionInterface

import regard
from regard.core.call import Call
from regard.core.effects import Effect, KeyScale, Out
from regard.core.where import Where

NAME = "twice-and-half-of-the-first"


class Half:
    """Halves what each query gets from the first key."""

    where, stage, causality = Where(), "weights", "row"

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[dict[str, Any], dict[str, Any], Effect]:
        yield {}
        return KeyScale(torch.where(call.keys("first"), 0.5, 1.0)[:, None])


class Twice:
    """Doubles the outputs of all heads."""

    where, stage, causality = Where(), "outputs", "row"

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[dict[str, Any], dict[str, Any], Effect]:
        yield {}
        return Out(2.0)


def halved(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> Any:
    """Attention of transformers that halves what comes from the first key, and doubles the output."""
    value = value.clone()
    value[:, :, 0] *= 0.5
    out, weights = sdpa_attention_forward(module, query, key, value, mask, **kwargs)
    return 2 * out, weights


@pytest.fixture
def model() -> Iterator[LlamaForCausalLM]:
    """A Llama of that attention, with the edits that say what it is."""
    AttentionInterface.register(NAME, halved)
    AttentionMaskInterface.register(NAME, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=30, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, attn_implementation=NAME,
    )  # fmt: skip
    made = LlamaForCausalLM(config).eval()
    for layer in made.model.layers:
        layer.self_attn.attention_design = SimpleNamespace(edits=(Half(), Twice()))
    yield made
    AttentionInterface._global_mapping.pop(NAME)
    AttentionMaskInterface._global_mapping.pop(NAME)


def own_output(model: LlamaForCausalLM) -> Tensor:
    """What the first layer's attention gives to the output projection, [batch, query, head * dim]."""
    kept: list[Tensor] = []
    handle = model.model.layers[0].self_attn.o_proj.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    model(**X)
    handle.remove()
    return kept[0]


X = {"input_ids": torch.arange(3, 15).reshape(2, 6)}


@torch.no_grad()
def test_statistics_are_of_the_design(model: LlamaForCausalLM) -> None:
    plain = model(**X).logits
    lens = regard.attach(model)
    found = lens.measure(X, [regard.Mass("all"), regard.Mass("first")])
    assert torch.equal(model(**X).logits, plain)
    whole, first = (found[name].mean for name in ("mass[all]", "mass[first]"))
    assert torch.allclose(whole + first, torch.ones_like(whole), atol=1e-5)  # a half of the first key's is gone
    assert found.deviation < 1e-5
    unedited = lens.measure(X, [regard.Mass("first")], of="unedited")["mass[first]"].mean
    assert torch.allclose(unedited, first, atol=1e-6)


@torch.no_grad()
def test_edits_come_on_top_of_it(model: LlamaForCausalLM) -> None:
    lens = regard.attach(model)
    plain = own_output(model)
    assert torch.allclose(lens.cache(X, ["z.0"])["z.0"].transpose(1, 2).flatten(2), plain, atol=1e-6)
    with lens.edit(regard.ScaleHeads([(0, head) for head in range(4)], 2.0)):
        assert torch.allclose(own_output(model), 2 * plain, atol=1e-6)
    with lens.edit(regard.BlockKeys("first", queries="all", layers=[0])):
        blocked = lens.weights(X, 0)
    assert float(blocked[:, :, 1:, 0].max()) == 0.0
