"""The cache that keeps sinks is the mask that hides what lies between them and the window."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from regard.design.sink_cache import KeepSinkCache

SHAPE: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2,
    "initializer_range": 0.3, "eos_token_id": None,
}  # fmt: skip


def llama(layers: int = 3, **options: Any) -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE, num_hidden_layers=layers, **options)).eval()


def gpt2() -> Any:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=50, n_embd=32, n_layer=3, n_head=4, n_positions=64, initializer_range=0.3, eos_token_id=None
    )
    return GPT2LMHeadModel(config).eval()


def texts(length: int = 19) -> Tensor:
    return torch.randint(0, 50, (2, length), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def streamed(model: Any, cache: KeepSinkCache, ids: Tensor, prompt: int = 1) -> Tensor:
    """Logits of all tokens: the prompt at once, the rest one by one."""
    found = [model(input_ids=ids[:, :prompt], past_key_values=cache).logits]
    found += [model(input_ids=ids[:, at : at + 1], past_key_values=cache).logits for at in range(prompt, ids.shape[1])]
    return torch.cat(found, 1)


@torch.no_grad()
def masked(model: Any, ids: Tensor, sinks: int, window: int, prompt: int = 1) -> Tensor:
    """Logits of one pass with a dense mask."""
    at = torch.arange(ids.shape[1])
    back = at[:, None] - at
    seen = (back >= 0) & ((at < sinks) | (back < window) | (at[:, None] < prompt))
    return model(input_ids=ids, attention_mask=seen[None, None].expand(len(ids), 1, -1, -1)).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize(("sinks", "window"), [(4, 5), (0, 3), (1, 1), (2, 30)])
@pytest.mark.parametrize("prompt", [1, 11])
@pytest.mark.parametrize("make", [llama, gpt2], ids=lambda make: make.__name__)
def test_the_cache_is_the_mask(make: Any, prompt: int, sinks: int, window: int) -> None:
    model, ids = make(), texts()
    cache = KeepSinkCache(model, sinks, window)
    found = streamed(model, cache, ids, prompt)
    torch.testing.assert_close(found, masked(model, ids, sinks, window, prompt), atol=2e-4, rtol=1e-4)
    assert cache.get_seq_length() == 19 and cache.layers[0].keys.shape[2] == min(sinks + window - 1, 19)
    if window > 19:
        torch.testing.assert_close(found, model(input_ids=ids).logits, atol=2e-4, rtol=1e-4)
    else:
        assert (found - model(input_ids=ids).logits).abs().max() > 0.01


@pytest.mark.parametrize("rope", [None, {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}])
def test_renumbered_positions_are_those_of_the_kept_tokens_alone(rope: Any) -> None:
    model = llama(1, **({} if rope is None else {"rope_parameters": rope}))  # whose keys depend on their token alone
    ids = texts(40)
    cache = KeepSinkCache(model, 2, 6, renumber=True)
    found = streamed(model, cache, ids)
    for at in (3, 8, 20, 39):
        kept = ids[:, : at + 1] if at < 8 else torch.cat([ids[:, :2], ids[:, at - 5 : at + 1]], 1)
        torch.testing.assert_close(found[:, at], model(input_ids=kept).logits[:, -1], atol=2e-4, rtol=1e-4)
    assert cache.get_seq_length() == 7
    plain = streamed(model, KeepSinkCache(model, 2, 6), ids)
    assert (plain[:, 39] - found[:, 39]).abs().max() > 1e-3


def test_rounding_of_renumbered_keys_does_not_add_up() -> None:
    model = llama(1, head_dim=32).bfloat16()
    raw = torch.randn(1, 2, 500, 32, generator=torch.Generator().manual_seed(2)).bfloat16()

    def rotated(keys: Tensor, positions: Tensor) -> Tensor:
        turned: Tensor = apply_rotary_pos_emb(keys, keys, *model.model.rotary_emb(keys, positions[None]))[1]
        return turned

    cache = KeepSinkCache(model, 2, 300, renumber=True)
    for _ in range(2):  # a cache that is reset begins anew
        for at in range(500):
            new = rotated(raw[..., at : at + 1, :], torch.tensor([cache.get_seq_length()]))
            keys, _ = cache.update(new, new, 0)
        exact = rotated(torch.cat([raw[..., :2, :], raw[..., -300:, :]], -2).float(), torch.arange(302))
        assert keys.dtype == torch.bfloat16 and cache.layers[0].keys.shape[-2] == 301
        assert float((keys.float() - exact).norm() / exact.norm()) < torch.finfo(torch.bfloat16).eps
        cache.reset()


def test_generation_goes_through_it_with_beams_and_again_after_a_reset() -> None:
    model, ids = llama(), texts(9)
    options: dict[str, Any] = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    cache = KeepSinkCache(model, 2, 4)
    out = model.generate(input_ids=ids, past_key_values=cache, **options)
    logits = masked(model, out[:, :-1], 2, 4, prompt=9)
    assert torch.equal(logits[:, 8:].argmax(-1), out[:, 9:])
    cache.reset()
    assert torch.equal(model.generate(input_ids=ids, past_key_values=cache, **options), out)
    long = model.generate(input_ids=ids, num_beams=2, past_key_values=KeepSinkCache(model, 2, 90), **options)
    assert torch.equal(long, model.generate(input_ids=ids, num_beams=2, **options))


def test_what_it_cannot_keep_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more sinks"):
        KeepSinkCache(llama(), -1, 4)
    with pytest.raises(ValueError, match="no type"):
        KeepSinkCache(gpt2(), renumber=True)
    with pytest.raises(ValueError, match="dynamic type"):
        KeepSinkCache(llama(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}), renumber=True)
    windows = MistralForCausalLM(MistralConfig(**SHAPE, num_hidden_layers=2, sliding_window=4))
    with pytest.raises(ValueError, match="0 layers of full attention"):
        KeepSinkCache(windows)
