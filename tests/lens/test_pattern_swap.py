"""Swapping patterns: a swap is the values under other weights, controls do what they say, and heads are found again."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from regard import PatchWeights
from regard.edit import from_json, to_json
from regard.lens import attach
from regard.lens.pattern_swap import (
    in_order,
    layer_map,
    matched,
    patterns,
    permuted,
    swap,
    swap_report,
    worth_under,
)

SHAPE: dict[str, Any] = {"vocab_size": 50, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def llama(seed: int = 0, layers: int = 2, heads: int = 4, kv_heads: int | None = None, vocab: int = 50) -> Any:
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            **SHAPE | {"vocab_size": vocab},
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads or heads,
            initializer_range=0.3,
        )
    ).eval()


def models() -> list[Any]:
    torch.manual_seed(0)
    wide: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    return [
        OPTForCausalLM(OPTConfig(**SHAPE, **wide, ffn_dim=64, word_embed_proj_dim=32, init_std=0.3)).eval(),
        GPTNeoXForCausalLM(GPTNeoXConfig(**SHAPE, **wide, intermediate_size=64, initializer_range=0.3)).eval(),
        llama(kv_heads=2),
        GPT2LMHeadModel(GPT2Config(**SHAPE, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3)).eval(),
    ]


def inputs(count: int = 4, tokens: int = 9, padded: bool = False) -> dict[str, Tensor]:
    ids = torch.randint(1, 50, (count, tokens), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    if padded:
        mask[0, :4] = 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("padded", [False, True])
@torch.no_grad()
def test_its_own_patterns_change_nothing_and_others_do(number: int, padded: bool) -> None:
    model, x = models()[number], inputs(padded=padded)
    lens = attach(model)
    own, real = patterns(lens, x), x["attention_mask"].bool()
    assert [list(maps.shape) for maps in own] == [[4, 4, 9, 9]] * 2
    for layer in range(2):
        torch.testing.assert_close(own[layer], lens.weights(x, layer).float())
    before = model(**x).logits
    with lens.edit(swap(own, own)):
        torch.testing.assert_close(model(**x).logits[real], before[real], atol=2e-5, rtol=1e-5)
    with lens.edit(swap(own, own, share=0.0)):
        assert torch.equal(model(**x).logits, before)
    with lens.edit(swap(own, own, permuted(own, 0))):
        assert float((model(**x).logits - before)[real].abs().max()) > 1e-2


@torch.no_grad()
def test_a_swap_is_the_recipients_values_under_the_donors_weights() -> None:
    recipient, donor, x = llama(0, layers=1, kv_heads=2), llama(1, layers=1), inputs()
    lens = attach(recipient)
    own, theirs = patterns(lens, x), patterns(attach(donor), x)
    heads = [[2, 0, 3, 1]]
    attention, block = recipient.model.layers[0].self_attn, recipient.model.layers[0]
    states = block.input_layernorm(recipient.model.embed_tokens(x["input_ids"]))
    v = attention.v_proj(states).unflatten(-1, (2, 8)).transpose(1, 2).repeat_interleave(2, 1)
    for share in (1.0, 0.3):
        weights = (1 - share) * own[0] + share * theirs[0][:, heads[0]]
        expected = attention.o_proj((weights @ v).transpose(1, 2).flatten(2))
        kept: list[Tensor] = []
        hook = attention.register_forward_hook(lambda module, args, out, kept=kept: kept.append(out[0]))
        with lens.edit(swap(own, theirs, heads, share=share)):
            recipient(**x)
        hook.remove()
        torch.testing.assert_close(kept[0], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_model_whose_heads_are_renumbered_is_matched_wholly() -> None:
    model, other, x = llama(), llama(), inputs()
    order = [2, 0, 3, 1]
    for layer in other.model.layers:
        attention = layer.self_attn
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj):
            projection.weight.copy_(projection.weight.unflatten(0, (4, 8))[order].flatten(0, 1))
        attention.o_proj.weight.copy_(attention.o_proj.weight.unflatten(1, (4, 8))[:, order].flatten(1, 2))
    torch.testing.assert_close(other(**x).logits, model(**x).logits, atol=1e-5, rtol=1e-5)
    own, theirs = patterns(attach(model), x), patterns(attach(other), x)
    found = matched(own, theirs)
    assert found == [[order.index(head) for head in range(4)]] * 2
    report = swap_report(attach(model), attach(other), x)
    assert report["matched"].recovery == pytest.approx(1, abs=1e-4) == report["self"].recovery
    assert report["own"].recovery == 1 and report["uniform"].recovery == 0
    assert abs(report["raw"].recovery - 1) > 0.01 and abs(report["permuted"].recovery - 1) > 0.01
    assert report["own"].loss == pytest.approx(worth_under(attach(model), x)[0])


def test_maps_of_layers_and_heads() -> None:
    assert layer_map(4, 4) == [0, 1, 2, 3] and layer_map(6, 2) == [0, 0, 0, 1, 1, 1] and layer_map(1, 5) == [0]
    assert layer_map(3, 12)[0] == 0 and layer_map(3, 12)[-1] == 11
    maps = [torch.rand(2, 5, 3, 3)] * 2
    for seed in range(20):
        for order in permuted(maps, seed):
            assert sorted(order) == list(range(5)) and all(head != place for place, head in enumerate(order))
    few = [torch.rand(2, 3, 3, 3)] * 4
    assert in_order(maps, few) == [[0, 1, 2, 0, 1]] * 2
    assert all(set(order) == {0, 1, 2} for order in matched(maps, few))
    assert all(len(set(order)) == 3 for order in matched(few, maps))


@torch.no_grad()
def test_models_of_other_sizes_swap_and_only_some_layers_do() -> None:
    small, large, x = llama(0, 2, 2), llama(1, 4, 4), inputs()
    lens = attach(small)
    own, theirs = patterns(lens, x), patterns(attach(large), x)
    edit = swap(own, theirs, layers=[1])
    assert isinstance(edit, PatchWeights) and list(edit.heads) == [(1, 0), (1, 1)]
    torch.testing.assert_close(edit.weights, theirs[3][:, :2])
    with lens.edit(edit):
        torch.testing.assert_close(lens.weights(x, 0), own[0])
        torch.testing.assert_close(lens.weights(x, 1), theirs[3][:, :2], atol=1e-6, rtol=1e-5)
    assert swap_report(lens, attach(large), x)["raw"].loss > 0


@torch.no_grad()
def test_generation_over_the_swapped_tokens_is_teacher_forcing() -> None:
    model, x = llama(kv_heads=2), inputs(2, 12)
    lens = attach(model)
    edit = swap(patterns(lens, x), [maps.roll(1, 0) for maps in patterns(lens, x)])
    with lens.edit(edit):
        whole = model(**x).logits
        first = model(input_ids=x["input_ids"][:, :8], use_cache=True)
        rest = model(input_ids=x["input_ids"][:, 8:], past_key_values=first.past_key_values).logits
    torch.testing.assert_close(torch.cat([first.logits, rest], 1), whole, atol=2e-5, rtol=1e-4)


def test_a_share_is_kept_in_json(tmp_path: Any) -> None:
    own = patterns(attach(llama()), inputs())
    told, tensors = to_json([swap(own, own, share=0.25)])
    (back,) = from_json(told, tensors)
    assert isinstance(back, PatchWeights) and back.share == 0.25 and torch.equal(back.weights, torch.cat(own, 1))


def test_what_says_nothing_is_refused() -> None:
    lens, x = attach(llama()), inputs()
    with pytest.raises(ValueError, match="no swap across tokenizers"):
        swap_report(lens, attach(llama(vocab=60)), x)
    with pytest.raises(ValueError, match="two texts or more"):
        swap_report(lens, lens, inputs(1))
    with pytest.raises(ValueError, match="other inputs"):
        swap(patterns(lens, x), patterns(lens, inputs(4, 7)))
    lens.model.train()
    with pytest.raises(ValueError, match="without dropout"):
        patterns(lens, x)
