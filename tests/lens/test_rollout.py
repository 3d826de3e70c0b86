"""Rollouts of real classes against the dense product of their maps, and influence against finite differences."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

import regard
from regard.edit import UniformHeads
from regard.lens.influence import influence
from regard.lens.rollout import Rollout, position_profile
from regard.measure.walk import rollout

from .tokenizers_here import byte_level

ENDS: dict[str, Any] = {"bos_token_id": 0, "eos_token_id": 0}


def model(name: str) -> Any:
    torch.manual_seed(0)
    shape: dict[str, Any] = {"vocab_size": 50, "hidden_size": 32, "initializer_range": 0.3, **ENDS}
    layers: dict[str, Any] = {"num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    match name:
        case "llama":
            made: Any = LlamaForCausalLM(LlamaConfig(**shape, **layers, num_key_value_heads=2))
        case "neox":
            made = GPTNeoXForCausalLM(GPTNeoXConfig(**shape, **layers))
        case "bloom":
            made = BloomForCausalLM(BloomConfig(**shape, n_layer=3, n_head=4))
        case "gpt2":
            made = GPT2LMHeadModel(
                GPT2Config(vocab_size=50, n_embd=32, n_layer=3, n_head=4, initializer_range=0.3, **ENDS)
            )
        case _:
            made = BertModel(BertConfig(**shape, **layers))
    return made.eval()


def inputs() -> dict[str, Tensor]:
    """Two texts of 13 tokens, the first padded on the left."""
    ids = torch.randint(1, 50, (2, 13), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    return {"input_ids": ids, "attention_mask": mask}


def dense(lens: Any, x: dict[str, Tensor], shares: Tensor, by_head: Tensor | None, row: int, query: int) -> Tensor:
    maps = [lens.weights(x, layer)[row] for layer in range(3)]
    mixed = [m.mean(0) if by_head is None else (m * by_head[n, :, None, None]).sum(0) for n, m in enumerate(maps)]
    return rollout(mixed, shares.tolist())[query]


@pytest.mark.parametrize("name", ["llama", "neox", "bloom", "gpt2", "bert"])
@pytest.mark.parametrize("residual", ["none", "half", [0.1, 0.4, 0.9]], ids=str)
def test_columns_give_the_row_of_the_dense_product(name: str, residual: Any) -> None:
    lens, x = regard.attach(model(name)), inputs()
    for query in (-1, 3):
        found = position_profile(lens, x, residual, query=query)
        for row, start in enumerate((4, 0)):
            place = 12 if query == -1 else start + query
            expected = dense(lens, x, found.shares[:, row], None, row, place)
            torch.testing.assert_close(found.mass[row], expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(found.mass.sum(1), torch.ones(2, dtype=torch.float64), atol=1e-5, rtol=0)
        assert bool((found.mass[0, :4] == 0).all()) and [len(one) for one in found.profiles()] == [9, 13]


@pytest.mark.parametrize("name", ["llama", "neox", "bloom", "gpt2"])
def test_shares_are_those_of_what_attention_adds(name: str) -> None:
    lens, x = regard.attach(model(name)), inputs()
    found = position_profile(lens, x, "measured")
    taken: dict[int, tuple[Tensor, Tensor]] = {}
    blocks = {"llama": "model.layers", "neox": "gpt_neox.layers", "bloom": "transformer.h", "gpt2": "transformer.h"}
    added = {
        "llama": "self_attn.o_proj",
        "neox": "attention.dense",
        "bloom": "self_attention.dense",
        "gpt2": "attn.c_proj",
    }
    stack: Any = lens.model.get_submodule(blocks[name])
    for layer, block in enumerate(stack):
        block.register_forward_pre_hook(lambda m, args, n=layer: taken.update({n: (args[0], args[0])}))
        block.get_submodule(added[name]).register_forward_hook(
            lambda m, args, out, n=layer: taken.update({n: (taken[n][0], out)})
        )
    with torch.no_grad():
        lens.model(**x)
    real = x["attention_mask"].bool()
    for layer, (stream, a) in taken.items():
        share = a.norm(dim=-1) / (a.norm(dim=-1) + stream.norm(dim=-1))
        expected = torch.stack([row[valid].mean() for row, valid in zip(share, real, strict=True)])
        torch.testing.assert_close(found.shares[layer].float(), expected, atol=1e-5, rtol=1e-4)
    assert "measured" in repr(found) and f"{float(found.shares[0].mean()):.3f}" in repr(found)


def test_heads_count_by_the_norm_of_their_outputs() -> None:
    lens, x = regard.attach(model("llama")), inputs()
    found = position_profile(lens, x, "half", heads="norm")
    norms = torch.stack(
        [lens.cache(x, [f"z.{layer}"])[f"z.{layer}"][0, :, 4:].norm(dim=-1).mean(-1) for layer in range(3)]
    )
    expected = dense(lens, x, found.shares[:, 0], norms / norms.sum(-1, keepdim=True), 0, 12)
    torch.testing.assert_close(found.mass[0], expected, atol=1e-6, rtol=0)


def test_edits_count_and_a_batch_is_its_texts() -> None:
    lens, x = regard.attach(model("llama")), inputs()
    plain = position_profile(lens, x, "measured")
    alone = position_profile(lens, {"input_ids": x["input_ids"][:1, 4:]}, "measured")
    torch.testing.assert_close(alone.mass[0], plain.profiles()[0], atol=1e-5, rtol=0)
    with lens.edit(UniformHeads([(0, 0), (2, 3)])):
        edited = position_profile(lens, x, "none")
        expected = dense(lens, x, edited.shares[:, 1], None, 1, 12)
    torch.testing.assert_close(edited.mass[1], expected, atol=1e-6, rtol=0)
    assert not torch.allclose(edited.mass, position_profile(lens, x, "none").mass, atol=1e-3)


def test_what_cannot_be_is_said() -> None:
    lens, x = regard.attach(model("bert")), inputs()
    with pytest.raises(ValueError, match="give a share for each layer"):
        position_profile(lens, x, "measured")
    wrong: list[Any] = ["all", [0.5], [0.5, 0.5, 2.0]]
    for residual in wrong:
        with pytest.raises(ValueError, match="residual"):
            position_profile(lens, x, residual)
    with pytest.raises(ValueError, match="mean or norm"):
        position_profile(lens, x, "none", heads="max")  # type: ignore[arg-type]
    with pytest.raises(IndexError, match="no query 11 in an example of 9"):
        position_profile(lens, x, "none", query=11)
    with pytest.raises(ValueError, match="gradient or ablation"):
        influence(lens, x, "guess")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="language-model head"):
        influence(lens, x)
    for other in ("pixel_values", "token_type_ids"):
        with pytest.raises(ValueError, match=f"would leave {other} out"):
            influence(lens, {**x, other: torch.ones(2, 13)})
    with pytest.raises(ValueError, match="language-model head"):
        influence(lens, {**x, "token_type_ids": torch.zeros_like(x["input_ids"])})


def test_influence_is_the_gradient_and_the_divergence() -> None:
    lens, x = regard.attach(model("gpt2")), {"input_ids": inputs()["input_ids"][1:]}
    net: Any = lens.model.double()
    embedded = net.get_input_embeddings()(x["input_ids"]).detach()
    (found,) = influence(lens, x)
    logits = net(inputs_embeds=embedded).logits[0, -1]
    best, size = int(logits.argmax()), []
    for token in range(13):
        moved = []
        for dim in range(32):
            step = torch.zeros_like(embedded)
            step[0, token, dim] = 1e-5
            with torch.no_grad():
                up, down = (net(inputs_embeds=embedded + sign * step).logits[0, -1, best] for sign in (1, -1))
            moved.append(float(up - down) / 2e-5)
        size.append(torch.tensor(moved, dtype=torch.float64).norm())
    torch.testing.assert_close(found, torch.stack(size) / torch.stack(size).sum(), atol=1e-4, rtol=1e-3)
    (gone,) = influence(lens, x, "ablation", size=5)
    divergence = []
    for token in range(13):
        without = embedded.clone()
        without[0, token] = embedded[0].mean(0)
        with torch.no_grad():
            other = net(inputs_embeds=without).logits[0, -1]
        divergence.append(
            torch.nn.functional.kl_div(other.log_softmax(-1), logits.detach().softmax(-1), reduction="sum")
        )
    torch.testing.assert_close(gone, torch.stack(divergence) / torch.stack(divergence).sum(), atol=1e-8, rtol=1e-5)


def test_influence_takes_no_token_of_padding_into_account() -> None:
    lens, x = regard.attach(model("llama")), inputs()
    padded, alone = influence(lens, x)[0], influence(lens, {"input_ids": x["input_ids"][:1, 4:]})[0]
    torch.testing.assert_close(padded, alone)


def test_influence_counts_edits_that_name_tokens() -> None:
    net = model("llama")
    net.resize_token_embeddings(340, mean_resizing=False)
    lens = regard.attach(net, byte_level())
    x = lens.encode("the cat sat, and ran")
    assert x.segments["punctuation"].any()
    embedding = net.get_input_embeddings()
    embedded = embedding(x["input_ids"]).detach()
    with lens.edit(regard.Redistribute(take_from="first", give_to="punctuation", move=0.6)):
        plain = embedded.clone().requires_grad_()
        put = embedding.register_forward_hook(lambda *_: plain)
        logits = net(**x).logits[0, -1]
        (gradient,) = torch.autograd.grad(logits.max(), plain)
        put.remove()
        gone = []
        for token in range(embedded.shape[1]):
            without = embedded.clone()
            without[0, token] = embedded[0].mean(0)
            put = embedding.register_forward_hook(lambda *_, given=without: given)
            other = net(**x).logits[0, -1].log_softmax(-1)
            put.remove()
            gone.append(torch.nn.functional.kl_div(other, logits.softmax(-1), reduction="sum").detach())
        found = [influence(lens, x)[0], influence(lens, x, "ablation")[0]]
    for one, expected in zip(found, (gradient[0].norm(dim=-1), torch.stack(gone)), strict=True):
        torch.testing.assert_close(one, (expected / expected.sum()).double(), atol=1e-4, rtol=1e-3)
    assert float((influence(lens, x)[0] - found[0]).abs().max()) > 1e-3


def test_alibi_slopes_can_be_read_off_the_first_layer() -> None:
    net = model("bloom")
    with torch.no_grad():
        net.transformer.h[0].self_attention.query_key_value.weight.zero_()
        net.transformer.h[0].self_attention.query_key_value.bias.zero_()
    weights = regard.attach(net).weights({"input_ids": inputs()["input_ids"]}, 0, queries=[-1])[0, :, 0]
    slopes = (weights.log()[:, 1:] - weights.log()[:, :-1]).mean(-1)
    torch.testing.assert_close(slopes, torch.tensor([2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8]), atol=1e-4, rtol=0)


def test_a_rollout_is_of_one_sequence() -> None:
    found = Rollout(torch.ones(1, 3), torch.ones(2, 1), "none", torch.ones(1, 3, dtype=torch.bool))
    assert "residual none, attention's share by layer: 1.000, 1.000" in repr(found)
