"""Indicators of whole maps against sums over entries."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import regard
from regard.measure.map_indicators import Concentration, EntropyTotal, HeadDiversity, LookBack

CONFIG = LlamaConfig(
    vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
    initializer_range=0.3, bos_token_id=0, eos_token_id=None,
)  # fmt: skip
ALL: list[Any] = [EntropyTotal(), Concentration(), HeadDiversity(), *(LookBack(steps) for steps in range(4))]


def test_they_are_sums_over_the_maps_without_padding() -> None:
    torch.manual_seed(0)
    lens = regard.attach(LlamaForCausalLM(CONFIG).eval())
    ids, mask = torch.randint(1, 50, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    mask[0, :4] = 0
    x = {"input_ids": ids, "attention_mask": mask}
    found = lens.measure(x, ALL)
    for layer in range(2):
        maps = [lens.weights(x, layer)[row, :, start:, start:].double() for row, start in ((0, 4), (1, 0))]
        total = torch.stack([-(one * one.clamp_min(1e-300).log()).sum((1, 2)) for one in maps]).mean(0)
        torch.testing.assert_close(found["entropy_total"].mean[layer], total, atol=1e-5, rtol=1e-5)
        norm = torch.stack([one.square().sum((1, 2)).sqrt() for one in maps]).mean(0)
        torch.testing.assert_close(found["concentration"].mean[layer], norm, atol=1e-5, rtol=1e-5)
        spread = [2 / (len(m[0]) * (len(m[0]) + 1)) * float(m.std(0, correction=0).tril().sum()) for m in maps]
        assert float(found["head_diversity"].mean[layer]) == pytest.approx(sum(spread) / 2, abs=1e-6)
        for steps in range(4):
            back = torch.stack([one.diagonal(-steps, 1, 2).mean(-1) for one in maps]).mean(0)
            torch.testing.assert_close(found[f"look_back[{steps}]"].mean[layer], back, atol=1e-5, rtol=1e-5)


def test_an_even_causal_map_has_its_closed_forms() -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(CONFIG).eval()
    with torch.no_grad():
        layer: Any
        for layer in model.model.layers:
            layer.self_attn.q_proj.weight.zero_()
    found = regard.attach(model).measure({"input_ids": torch.randint(50, (1, 20))}, [*ALL, regard.SinkMass()])
    harmonic = sum(1 / k for k in range(1, 21)) / 20
    even = torch.full((2, 4), harmonic, dtype=torch.float64)
    torch.testing.assert_close(found["look_back[0]"].mean, even)
    torch.testing.assert_close(found["sink_mass"].mean, even)
    assert float(found["head_diversity"].mean.max()) < 1e-6
    logs = sum(torch.log(torch.tensor(float(k))) for k in range(1, 21))
    torch.testing.assert_close(found["entropy_total"].mean.float(), torch.full((2, 4), float(logs)))


def test_a_map_of_the_own_token_alone_is_concentrated() -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(CONFIG).eval()
    lens = regard.attach(model)
    with lens.edit(regard.Interpolate("identity", 1.0)):
        found = lens.measure({"input_ids": torch.randint(50, (1, 16))}, ALL)
    torch.testing.assert_close(found["concentration"].mean, torch.full((2, 4), 4.0, dtype=torch.float64))
    assert float(found["entropy_total"].mean.abs().max()) < 1e-6
    assert float((found["look_back[0]"].mean - 1).abs().max()) < 1e-6
