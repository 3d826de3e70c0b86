"""What cannot be followed is refused, with where it is and what to do; the model stays as it was."""

from typing import Any

import pytest
import torch
from torch import nn

import regard

from .state import outputs, same, state
from .zoo import DECODERS, LLAMA, noise, tokens
from .zoo.decoders import SMALL


def test_a_mask_for_one_kernel_only() -> None:
    from torch.nn.attention.flex_attention import create_block_mask

    block = create_block_mask(lambda b, h, q, k: q >= k, 1, 1, 128, 128, device="cpu")
    model = LLAMA.build()
    with pytest.raises(ValueError, match=r"was given a BlockMask as its mask.* give attention_mask as a tensor"):
        regard.attach(model).measure(
            {"input_ids": torch.ones(1, 128).long(), "attention_mask": block}, [regard.Entropy()]
        )


def test_a_paged_cache() -> None:
    model = LLAMA.build()
    lens = regard.attach(model)
    with pytest.raises(ValueError, match=r"attends with a paged cache \('cache'\).* dynamic or static cache"):
        lens.measure({**tokens(), "cache": object()}, [regard.Entropy()])


def test_nested_tensors() -> None:
    class Own(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.unflatten(-1, (2, 4)).transpose(1, 2)
            return nn.functional.scaled_dot_product_attention(x, x, x)

    rows = torch.nested.nested_tensor([noise(5, 8), noise(3, 8)], layout=torch.jagged)
    with pytest.raises(ValueError, match=r"Own attends over nested tensors.* pad its input"):
        regard.attach(Own(), check=False).measure({"x": rows}, [regard.Entropy()])


def test_one_lens_at_a_time() -> None:
    model, x = LLAMA.build(), tokens()
    one, other = regard.attach(model), regard.attach(model.model)
    plain, before = outputs(model, x), state(model)
    with one.edit(regard.ZeroHeads([(0, 0)])):
        with pytest.raises(ValueError, match="another lens listens to LlamaModel already"):
            other.measure(x, [regard.Entropy()])
        assert not torch.equal(outputs(model, x), plain)
    assert same(before, state(model)) and torch.equal(outputs(model, x), plain)
    other.measure(x, [regard.Entropy()])


@pytest.mark.parametrize("option", ["add_bias_kv", "add_zero_attn"])
def test_keys_that_are_no_tokens(option: str) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            options: dict[str, Any] = {option: True}
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(x, x, x)[0]

    with pytest.raises(ValueError, match="its keys are not the tokens"):
        regard.attach(Own(), check=False).measure({"x": noise(2, 5, 8)}, [regard.Entropy()])


def test_softmax_that_does_not_run_over_keys() -> None:
    from transformers import NystromformerConfig, NystromformerModel

    model = NystromformerModel(
        NystromformerConfig(**SMALL, segment_means_seq_len=8, num_landmarks=4, conv_kernel_size=3)
    ).eval()
    with pytest.raises(ValueError, match=r"NystromformerSelfAttention.* does not run over the keys"):
        regard.attach(model, check=False).measure({"input_ids": torch.ones(1, 8).long()}, [regard.Entropy()])


@pytest.mark.parametrize(("shape", "dim"), [((2, 3, 2, 5, 5), -1), ((2, 5, 8), 1)], ids=["five axes", "over queries"])
def test_a_softmax_that_is_passed_over_is_told(shape: tuple[int, ...], dim: int) -> None:
    class OutlookAttention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x, dim)

    lens = regard.attach(OutlookAttention(), check=False)
    with lens.edit():
        lens.model(noise(*shape))
    assert [note for note in lens.notes if "OutlookAttention has a softmax" in note and "it is not heard" in note]


def test_a_refusal_reaches_its_user_through_modules_with_hooks_of_their_own() -> None:
    class BlockSparseAttention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x @ x.mT, -1) @ x

    model = nn.Sequential(nn.Sequential(BlockSparseAttention()))
    lens = regard.attach(model, check=False)
    with lens.edit():
        model[0].register_forward_hook(lambda module, args, output: None, always_call=True)
        with pytest.raises(ValueError, match="does not run over the keys"):
            model(noise(2, 5, 8))


def test_shared_configurations_do_not_mix_models() -> None:
    case = DECODERS[0]
    model, x = case.build(), tokens()
    other = type(model)(model.config).eval()
    plain = outputs(other, x)
    with regard.attach(model).edit(regard.ZeroHeads([(0, 0)])):
        assert torch.equal(outputs(other, x), plain)
        outputs(model, x)
