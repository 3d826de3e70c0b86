"""The delta rule as a design of transformers' models: exact, heard by a lens, with a cache, trained and stored."""

import copy
from pathlib import Path

import pytest
import torch
from design.test_attention_designs import NEARLY, inputs, llama, logits
from torch import nn

import regard
from regard.design.attention import Given, Heads, Learnt, apply, remove
from regard.design.delta_rule import DeltaRule
from regard.design.memory import Memory
from regard.design.stored import load, save


def test_it_is_the_memory_of_each_head_and_padding_writes_nothing() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, heads, 9, 8, dtype=torch.float64) for heads in (4, 2, 2))
    mask = torch.ones(2, 1, 9, 9, dtype=torch.bool).tril()
    mask[0, ..., :3] = False
    design = DeltaRule(0.3)
    learnt = Learnt(design, Heads(4, 2, 8), q)
    with torch.no_grad():
        learnt["eta"][1] = 1.0
        found = design.attend(Given(q, k, v, mask, 0.4, 0.0), learnt)
    unit = k / k.norm(dim=-1, keepdim=True)
    for text, head in torch.cartesian_prod(torch.arange(2), torch.arange(4)).tolist():
        start, kv = (3, 0)[text], head // 2
        eta = (0.3, float(torch.sigmoid(torch.tensor(1.0, dtype=torch.float64))))[kv]
        real = slice(start, None)
        expected, _ = Memory("delta", eta).scan(q[text, head, real], unit[text, kv, real], v[text, kv, real])
        torch.testing.assert_close(found[text, head, real], 0.4 * expected, atol=1e-6, rtol=1e-6)


def test_a_lens_computes_what_the_model_does_and_removal_is_exact() -> None:
    model, given = llama(), inputs()
    plain = logits(model, given)
    apply(model, DeltaRule())
    for name, parameter in model.named_parameters():
        if "attention_design" in name:
            nn.init.normal_(parameter)
    own = logits(model, given)
    assert (own - plain).abs().max() > 1e-2
    lens = regard.attach(model)
    with lens.edit(NEARLY):
        torch.testing.assert_close(logits(model, given), own, atol=2e-5, rtol=1e-4)
    remove(model)
    assert torch.equal(logits(model, given), plain)


def test_it_generates_with_a_cache_as_without_trains_and_is_stored(tmp_path: Path) -> None:
    model, given = llama(), inputs()
    DeltaRule().put(model)
    with_cache, without = (
        model.generate(**given, max_new_tokens=6, do_sample=False, use_cache=use, pad_token_id=0)
        for use in (True, False)
    )
    assert torch.equal(with_cache, without)
    model(**given, labels=given["input_ids"]).loss.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in model.parameters())
    save(model, tmp_path)
    assert torch.equal(logits(load(tmp_path).eval(), given), logits(model, given))
    half = copy.deepcopy(model).to(torch.bfloat16)
    torch.testing.assert_close(logits(half, given).float(), logits(model, given), atol=0.5, rtol=0.1)


def test_an_eta_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1, not at 1"):
        DeltaRule(1.0)
