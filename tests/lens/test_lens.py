"""What a lens does beside measuring: records, caches, installs, explains, proves itself, refuses."""

import gc
import weakref
from typing import Any, ClassVar

import pytest
import torch
from hosts.zoo import UNET
from torch import nn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, MambaConfig, MambaModel

import regard
from regard.core import blockwise
from regard.core.terms import Rows
from regard.edit import BaseEdit
from regard.lens.unwrap import unwrap


@pytest.fixture
def model() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, eos_token_id=None, bos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return model


@pytest.fixture
def x() -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 60, (2, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 9, dtype=torch.long)
    mask[1, :3] = 0
    return {"input_ids": ids, "attention_mask": mask}


def logits(model: nn.Module, x: dict[str, Any]) -> torch.Tensor:
    with torch.no_grad():
        return model(**x).logits


def test_a_recording_has_a_row_per_emitted_token(model: LlamaForCausalLM, x: dict[str, torch.Tensor]) -> None:
    lens = regard.attach(model)
    with lens.record([regard.SinkMass(), regard.Entropy()]) as rec:
        out = model.generate(**x, max_new_tokens=5, do_sample=False, pad_token_id=0)
    assert rec["sink_mass"].shape == rec["entropy"].shape == (2, 5, 3, 4)
    mask = torch.cat([x["attention_mask"], torch.ones(2, 4, dtype=torch.long)], 1)
    rows = {"input_ids": out[:, :-1], "attention_mask": mask}
    for layer in range(3):
        a = lens.weights(rows, layer, queries=range(8, 13))  # the queries that emitted the five tokens
        for row, first in ((0, 0), (1, 3)):
            torch.testing.assert_close(rec["sink_mass"][row, :, layer], a[row, :, :, first].T, atol=1e-6, rtol=1e-4)
            entropy = -torch.xlogy(a[row], a[row]).sum(-1).T
            torch.testing.assert_close(rec["entropy"][row, :, layer], entropy, atol=1e-5, rtol=1e-4)
    prompt = lens.measure(x, [regard.SinkMass(), regard.Entropy()])
    torch.testing.assert_close(rec.prompt["entropy"].mean, prompt["entropy"].mean)
    with pytest.raises(KeyError, match="no statistic 'mass'"):
        rec["mass"]
    with pytest.raises(ValueError, match="cannot be recorded"), lens.record([regard.Received()]):
        pass


@pytest.mark.parametrize("kept", ["dictionary", "configuration", "sequences"])
@pytest.mark.parametrize("ends", [False, True], ids=["to the end", "some end"])
def test_a_recording_of_beams_is_of_the_sequences_that_are_returned(
    model: LlamaForCausalLM, x: dict[str, torch.Tensor], kept: str, ends: bool
) -> None:
    lens, n = regard.attach(model), 9
    options: dict[str, Any] = {"max_new_tokens": 6, "num_beams": 4, "num_return_sequences": 2, "do_sample": False}
    options |= {"pad_token_id": 0, "eos_token_id": list(range(24)) if ends else None}
    if kept == "configuration":
        options = {"generation_config": GenerationConfig(**options)}
    with lens.record([regard.SinkMass(), regard.Entropy()]) as rec:
        found: Any = model.generate(**x, **options, return_dict_in_generate=True if kept == "dictionary" else None)
    out = found.sequences if kept == "dictionary" else found
    lengths = (out[:, n:] != 0).sum(1).tolist()
    assert rec["entropy"].shape == (4, out.shape[1] - n, 3, 4)
    assert (min(lengths) < max(lengths)) == ends
    for row, length in enumerate(lengths):
        mask = torch.cat([x["attention_mask"][row // 2], torch.ones(length - 1, dtype=torch.long)])[None]
        rows = {"input_ids": out[row : row + 1, : n + length - 1], "attention_mask": mask}
        for layer in range(3):
            a = lens.weights(rows, layer, queries=range(n - 1, n + length - 1))[0]
            sink, entropy = a[:, :, 3 * (row // 2)].T, -torch.xlogy(a, a).sum(-1).T
            torch.testing.assert_close(rec["sink_mass"][row, :length, layer], sink, atol=1e-6, rtol=1e-4)
            torch.testing.assert_close(rec["entropy"][row, :length, layer], entropy, atol=1e-5, rtol=1e-4)
        assert rec["entropy"][row, length:].isnan().all()


def test_a_recording_of_a_model_without_tokens_is_refused() -> None:
    model = UNET.build()
    lens = regard.attach(model)
    told = r"was given no tokens, .* lens\.measure, or edit its steps inside lens\.run"
    with pytest.raises(ValueError, match=told), lens.record([regard.Entropy()]) as rec:
        model(**UNET.inputs())
    for ask in (lambda: rec.prompt, lambda: rec["entropy"]):
        with pytest.raises(ValueError, match="nothing was recorded: no"):
            ask()


def test_a_recording_follows_rejected_candidates(model: LlamaForCausalLM, x: dict[str, torch.Tensor]) -> None:
    lens = regard.attach(model)
    one = {name: value[:1] for name, value in x.items()}
    torch.manual_seed(5)
    assistant = LlamaForCausalLM(model.config).eval()
    with lens.record([regard.SinkMass()]) as assisted:
        out = model.generate(**one, max_new_tokens=6, do_sample=False, pad_token_id=0, assistant_model=assistant)
    a = torch.stack([lens.weights({"input_ids": out[:, :-1]}, layer, queries=range(8, 14)) for layer in range(3)])
    torch.testing.assert_close(assisted["sink_mass"][0, :6], a[:, 0, :, :, 0].permute(2, 0, 1), atol=1e-5, rtol=1e-4)


def test_a_cache_holds_the_named_activations_only(model: LlamaForCausalLM, x: dict[str, torch.Tensor]) -> None:
    lens = regard.attach(model)
    got = lens.cache(x, ["resid_pre.1", "z.0", "q.2", "k.2", "v.2", "attn_out.0", "mlp_out.2", "resid_post.0"])
    with torch.no_grad():
        hidden = model(**x, output_hidden_states=True).hidden_states
        o_proj = model.model.layers[0].self_attn.o_proj
        assert torch.equal(got["resid_pre.1"], hidden[1]) and torch.equal(got["resid_post.0"], hidden[1])
        mixed = o_proj(got["z.0"].transpose(1, 2).flatten(2))
        torch.testing.assert_close(mixed, got["attn_out.0"])
    assert list(got) == ["resid_pre.1", "z.0", "q.2", "k.2", "v.2", "attn_out.0", "mlp_out.2", "resid_post.0"]
    assert got["q.2"].shape == (2, 4, 9, 8) and got["k.2"].shape == (2, 2, 9, 8)
    with lens.edit(regard.ZeroHeads([(0, 1)])):
        assert (lens.cache(x, ["z.0"])["z.0"][:, 1] == 0).all()
    for name, reason in [
        ("z", "KIND.LAYER"),
        ("w.0", "no activation 'w.0'"),
        ("resid_pre.9", "no layer 9"),
        ("z.9", "z.9"),
    ]:
        with pytest.raises(ValueError, match=reason):
            lens.cache(x, [name])


def test_installed_edits_stay_until_removed_in_any_order(model: LlamaForCausalLM, x: dict[str, torch.Tensor]) -> None:
    lens = regard.attach(model)
    plain = logits(model, x)

    def edited(*edits: Any) -> torch.Tensor:
        with lens.edit(*edits):
            return logits(model, x)

    a, b = regard.ZeroHeads([(0, 0)]), regard.Redistribute("first", "rest", 0.7)
    only_a, only_b, both = edited(a), edited(b), edited(a, b)
    first = lens.install(a)
    assert torch.equal(logits(model, x), only_a)
    second = lens.install(b)
    assert torch.equal(logits(model, x), both)
    first.remove()
    assert torch.equal(logits(model, x), only_b)
    first.remove()
    second.remove()
    assert torch.equal(logits(model, x), plain)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_it_is_explained_how_edits_are_computed(model: LlamaForCausalLM, x: dict[str, torch.Tensor]) -> None:
    lens = regard.attach(model)
    told = lens.explain(regard.ZeroHeads([(0, 0), (2, 1)]), regard.Redistribute("first", "rest"), x=x)
    assert "ZeroHeads" in str(told) and "Out" in str(told) and "Mix" in str(told)
    assert "layers [0, 2]: 2 heads in all, 9 to 9 rows" in str(told) and "layers [0, 1, 2]: 12 heads" in str(told)
    assert "nothing here" in str(lens.explain(regard.ZeroHeads([(7, 0)]), x=x))
    assert torch.equal(logits(model, x), logits(model, x)) and not lens._edits


def test_attaching_proves_that_attention_is_heard_and_used(model: LlamaForCausalLM) -> None:
    assert regard.attach(model).proved and "proved live" in repr(regard.attach(model))
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
    with pytest.raises(ValueError, match="halving it does not move the output"):
        regard.attach(model)
    assert not regard.attach(model, check=False).proved


def test_a_model_without_attention_is_refused() -> None:
    mamba = MambaModel(MambaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, state_size=4)).eval()
    with pytest.raises(
        ValueError, match=r"MambaModel made no call .* a model without attention, as a state-space model"
    ):
        regard.attach(mamba)


@pytest.mark.parametrize("name", ["Mixing", "OwnAttention"])
@pytest.mark.parametrize("check", [True, False])
def test_attention_that_calls_no_softmax_is_refused_with_what_to_call(name: str, check: bool) -> None:
    def forward(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        weights = torch.exp(x @ x.mT)
        return weights / weights.sum(-1, keepdim=True) @ x

    own: nn.Module = type(name, (nn.Module,), {"forward": forward})()
    with pytest.raises(ValueError, match=r"exp and a sum.* call scaled_dot_product_attention"):
        regard.attach(nn.Sequential(own), check=check).measure({"input": torch.randn(1, 2, 5, 4)}, [regard.Entropy()])


def test_wrappers_are_taken_off_or_refused_by_name(model: LlamaForCausalLM) -> None:
    class HookedTransformer(nn.Module):
        pass

    class Peft(nn.Module):
        peft_config: ClassVar[dict[str, Any]] = {}

        def get_base_model(self) -> nn.Module:
            return model

    class Pipeline:
        components: ClassVar[dict[str, Any]] = {}

    for wrapped in (Peft(), torch.nn.DataParallel(model), torch.compile(model, backend="eager")):
        assert unwrap(wrapped) is model
    for wrong, reason in [
        (HookedTransformer(), "HookedTransformer: give the transformers model"),
        (Pipeline(), "not to a Pipeline: give the model inside"),
        (nn.Linear(2, 2, device="meta"), "weight has no data"),
        ("gpt2", "not to a str"),
    ]:
        with pytest.raises(TypeError, match=reason):
            regard.attach(wrong)


@pytest.mark.parametrize("broken", ["weight", "input"])
def test_values_that_are_not_finite_are_located(
    model: LlamaForCausalLM, x: dict[str, torch.Tensor], broken: str
) -> None:
    lens = regard.attach(model)
    if broken == "weight":
        with torch.no_grad():
            model.model.layers[1].self_attn.k_proj.weight[0, 0] = float("nan")
        expected = r"the keys of layer 1 \(model.layers.1.self_attn\) are not finite"
    else:
        embeddings = model.get_input_embeddings()(x.pop("input_ids")).detach()
        embeddings[0, 4, 2] = float("inf")
        x["inputs_embeds"] = embeddings
        expected = "the queries of layer 0"
    with pytest.raises(ValueError, match=expected):
        lens.measure(x, [regard.Entropy()])


def test_memory_that_runs_out_is_met_with_smaller_blocks_once(
    model: LlamaForCausalLM, x: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Largest(regard.Entropy):
        """The largest weight of each row, from exact rows."""

        def plan(self, call: Any) -> Any:
            got = yield {"rows": Rows(lambda weights, block: weights.amax(-1))}
            return call.mean(got["rows"])

    lens = regard.attach(model)
    expected = lens.measure(x, [Largest()])["entropy"]
    before, answer, sizes = blockwise.BLOCK_ELEMENTS, blockwise.answer, []

    def scarce(*args: Any, **kwargs: Any) -> Any:
        sizes.append(blockwise.BLOCK_ELEMENTS)
        if before == blockwise.BLOCK_ELEMENTS and len(sizes) > 1:  # in the second layer
            raise torch.OutOfMemoryError("out of memory")
        return answer(*args, **kwargs)

    monkeypatch.setattr(blockwise, "answer", scarce)
    got = lens.measure(x, [Largest()])["entropy"]
    assert torch.equal(got.mean, expected.mean) and got.count == 2
    assert sizes == [before] * 2 + [before // 8] * 3 and before == blockwise.BLOCK_ELEMENTS

    def none_left(*args: Any, **kwargs: Any) -> Any:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(blockwise, "answer", none_left)
    with pytest.raises(MemoryError, match="max_tokens"):
        lens.measure(x, [Largest()])
    assert before == blockwise.BLOCK_ELEMENTS and not any(m._forward_hooks for m in model.modules())


def test_a_lens_does_not_keep_a_run_alive(model: LlamaForCausalLM, x: dict[str, torch.Tensor]) -> None:
    from transformers import DynamicCache

    lens = regard.attach(model)
    cache = DynamicCache(config=model.config)
    with lens.edit(regard.ScaleHeads([(0, 0)], 0.5)):
        model(**x, past_key_values=cache)
    held = weakref.ref(cache)
    del cache
    gc.collect()
    assert held() is None


def test_gradient_checkpointing_meets_the_edit_again(model: LlamaForCausalLM, x: dict[str, torch.Tensor]) -> None:
    lens = regard.attach(model)
    edit = regard.Redistribute("first", "rest", 0.5, heads=[(0, 1), (2, 3)])

    def gradients() -> list[torch.Tensor]:
        model.zero_grad()
        with lens.edit(edit):
            model(**x, labels=x["input_ids"], use_cache=False).loss.backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    model.train()
    plain = gradients()
    for reentrant in (False, True):
        model.gradient_checkpointing_enable({"use_reentrant": reentrant})
        for a, b in zip(gradients(), plain, strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    with pytest.raises(RuntimeError, match="call backward"), lens.edit(edit):
        model(**x, labels=x["input_ids"], use_cache=False)
    model.gradient_checkpointing_disable()
    with lens.edit(edit):
        loss = model(**x, labels=x["input_ids"], use_cache=False).loss
    model.zero_grad()
    loss.backward()
    for parameter, b in zip(model.parameters(), plain, strict=True):
        torch.testing.assert_close(parameter.grad, b, atol=1e-6, rtol=1e-4)


def test_a_model_that_attaching_cannot_run_is_proved_by_the_first_inputs() -> None:
    class Own(nn.Module):
        def __init__(self, used: bool) -> None:
            super().__init__()
            self.qkv, self.used = nn.Linear(8, 24), used

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = self.qkv(x).view(*x.shape[:2], 3, 2, 4).permute(2, 0, 3, 1, 4)
            a = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
            return torch.rand(()) + (a if self.used else v.transpose(1, 2).flatten(2))

    x = {"x": torch.randn(2, 5, 8)}
    lens = regard.attach(Own(used=True))
    assert not lens.proved
    lens.measure(x, [regard.Entropy()])
    assert lens.proved
    with pytest.raises(ValueError, match=r"Own\) is heard, but halving it does not move"):
        regard.attach(Own(used=False)).measure(x, [regard.Entropy()])
    regard.attach(Own(used=False), check=False).measure(x, [regard.Entropy()])


def test_proving_leaves_modes_and_random_numbers_alone(model: LlamaForCausalLM) -> None:
    model.train()
    model.model.layers[1].eval()
    before, modes = torch.get_rng_state(), [module.training for module in model.modules()]
    regard.attach(model)
    assert torch.equal(before, torch.get_rng_state()) and modes == [module.training for module in model.modules()]


def test_what_is_measured_can_be_the_unedited_attention(model: LlamaForCausalLM, x: dict[str, torch.Tensor]) -> None:
    lens = regard.attach(model)
    plain = lens.measure(x, [regard.SinkMass()])["sink_mass"].mean
    with lens.edit(regard.Redistribute("first", "rest", 1.0, layers=[2])):
        edited, unedited = (
            lens.measure(x, [regard.SinkMass()], of=of)["sink_mass"].mean for of in ("edited", "unedited")
        )
    assert torch.equal(unedited, plain) and (edited[2] < plain[2] / 2).all() and torch.equal(edited[:2], plain[:2])


def test_passes_of_a_sampling_loop_are_one_run(model: LlamaForCausalLM, x: dict[str, torch.Tensor]) -> None:
    lens = regard.attach(model)
    steps: list[tuple[int, int]] = []

    class Counting(regard.ScaleHeads):
        def plan(self, call: Any, state: dict[str, Any]) -> Any:
            state["seen"] = state.get("seen", 0) + 1
            steps.append((call.session.step, state["seen"]))
            return super().plan(call, state)

    BaseEdit.kinds.pop("Counting", None)
    with lens.edit(Counting([(0, 0)], 0.5)):
        with lens.run() as session:
            for _ in range(3):
                logits(model, x)
        logits(model, x)
    assert steps == [(0, 1), (1, 2), (2, 3), (0, 1)] and session.step == 2


def test_a_lens_examines_its_model(model: LlamaForCausalLM) -> None:
    assert regard.attach(model).doctor().ok


def test_cache_reads_what_goes_into_a_feed_forward_layer_and_its_last_projection() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel, MixtralConfig, MixtralForCausalLM

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=2, n_head=2, n_positions=32)).eval()
    x = {"input_ids": torch.randint(50, (2, 7))}
    got = regard.attach(model).cache(x, ["mlp_in.1", "mlp_mid.1", "mlp_out.1"])
    mlp = model.transformer.h[1].mlp
    with torch.no_grad():
        torch.testing.assert_close(mlp.act(mlp.c_fc(got["mlp_in.1"])), got["mlp_mid.1"])
        torch.testing.assert_close(mlp.c_proj(got["mlp_mid.1"]), got["mlp_out.1"])
    assert got["mlp_mid.1"].shape == (2, 7, 64)
    config = MixtralConfig(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=2,
    )  # fmt: skip
    with pytest.raises(ValueError, match="mixture of experts"):
        regard.attach(MixtralForCausalLM(config).eval()).cache(x, ["mlp_mid.0"])


def test_a_loss_on_attention_has_the_gradients_of_the_eager_maps(
    model: LlamaForCausalLM, x: dict[str, torch.Tensor]
) -> None:
    def gradients(loss: torch.Tensor) -> list[torch.Tensor]:
        parameters = [p for name, p in model.named_parameters() if "q_proj" in name or "k_proj" in name]
        return list(torch.autograd.grad(loss, parameters))

    lens = regard.attach(model)
    weight = torch.linspace(0.5, 2, 12).view(3, 4)
    asked = [regard.Entropy(), regard.SinkMass(), regard.Received()]
    plain = lens.measure(x, asked)
    s = lens.measure(x, asked, grad=True)
    assert torch.equal(s["entropy"].mean, plain["entropy"].mean) and not plain["entropy"].mean.requires_grad
    assert 0 < s.deviation < 1e-4
    received = sum(one[..., -2].sum() for one in s["received"].examples)
    got = gradients((weight * (s["entropy"].mean + s["sink_mass"].mean)).sum() + received)

    model.set_attn_implementation("eager")
    maps = model(**x, output_attentions=True).attentions
    total = torch.zeros(())
    for layer, a in enumerate(maps):
        for row, first in ((0, 0), (1, 3)):
            one = a[row, :, first:, first:]
            entropy = -torch.xlogy(one, one.masked_fill(one == 0, 1.0)).sum(-1).mean(-1)
            total = total + (weight[layer] * (entropy + one[:, :, 0].mean(-1))).sum() / 2
            total = total + one[:, :, -2].sum() / 2  # two queries see this token
    for mine, expected in zip(got, gradients(total), strict=True):
        assert expected.abs().max() > 1e-4
        torch.testing.assert_close(mine, expected, atol=1e-6, rtol=1e-4)

    model.gradient_checkpointing_enable()
    with pytest.raises(ValueError, match=r"under gradient checkpointing .* measure with grad"):
        lens.measure(x, asked, grad=True)


def test_a_body_that_takes_other_inputs_is_not_run_by_itself() -> None:
    """The backbone makes what its encoder takes of pixels."""
    from transformers import DINOv3ViTBackbone, DINOv3ViTConfig

    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = DINOv3ViTBackbone(DINOv3ViTConfig(image_size=32, patch_size=16, **shape)).eval()
    found = regard.attach(model).measure({"pixel_values": torch.randn(2, 3, 32, 32)}, [regard.Entropy()])
    assert found["entropy"].mean is not None and found["entropy"].mean.shape == (2, 2)


def test_a_list_of_attention_modules_is_no_list_of_blocks() -> None:
    from transformers import XLMConfig, XLMModel

    model = XLMModel(XLMConfig(vocab_size=32, emb_dim=16, n_layers=2, n_heads=2)).eval()
    with pytest.raises(ValueError, match="stands in no list of blocks"):
        regard.attach(model).cache({"input_ids": torch.randint(5, 30, (1, 8))}, ["resid_pre.0"])
