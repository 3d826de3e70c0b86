"""The capacity of keys, head by head."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from regard.design.memory_capacity import half_power
from regard.lens import attach
from regard.lens.key_memory import key_memory


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=64, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.3,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def test_it_is_of_each_head_of_keys_and_leaves_padding_out() -> None:
    lens, generator = attach(llama()), torch.Generator().manual_seed(0)
    ids = torch.randint(1, 50, (1, 20), generator=generator)
    plain = key_memory(lens, {"input_ids": ids}, 1)
    assert [(one.head, one.centred) for one in plain] == [(0, False), (0, True), (1, False), (1, True)]
    keys = lens.cache({"input_ids": ids}, ["k.1"])["k.1"][0]
    unit = keys / keys.norm(dim=-1, keepdim=True)
    for one, head in ((plain[0], 0), (plain[2], 1)):
        gram = unit[head] @ unit[head].T
        assert one.half_power == pytest.approx(half_power(unit[head]), rel=1e-4)
        assert one.mean_cosine == pytest.approx(float((gram.sum() - 20) / 380), abs=1e-5)
        assert 1 <= one.effective_rank <= 16
    mask = torch.ones(1, 26, dtype=torch.long)
    mask[:, :6] = 0
    padded = torch.cat([torch.zeros(1, 6, dtype=torch.long), ids], 1)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    again = key_memory(lens, {"input_ids": padded, "attention_mask": mask, "position_ids": positions}, 1)
    for one, other in zip(plain, again, strict=True):
        assert other.half_power == pytest.approx(one.half_power, rel=1e-3)
        assert other.measured == pytest.approx(one.measured, abs=1e-3)


def test_a_direction_in_common_costs_capacity_and_centring_gives_it_back() -> None:
    model = llama()
    found = key_memory(attach(model), {"input_ids": torch.randint(1, 50, (2, 24))}, 0)
    with torch.no_grad():  # every key is moved the same way
        model.model.layers[0].self_attn.k_proj.bias = torch.nn.Parameter(torch.full((32,), 6.0))
    model.config.attention_bias = True
    moved = key_memory(attach(model), {"input_ids": torch.randint(1, 50, (2, 24))}, 0)
    for before, after in zip(found[::2], moved[::2], strict=True):
        assert after.half_power < 0.7 * before.half_power and after.mean_cosine > before.mean_cosine + 0.2
        assert after.measured < before.measured
    for plain, centred in zip(moved[::2], moved[1::2], strict=True):
        assert centred.half_power > 1.3 * plain.half_power


def test_short_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="three tokens"):
        key_memory(attach(llama()), {"input_ids": torch.tensor([[1, 2]])}, 0)
