"""Attention designs: the fast function, the edits that a lens uses and a dense re-statement are one attention."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from transformers import BloomConfig, BloomForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import regard
from regard.design.attention import AttentionDesign, Given, Heads, Learnt, apply, remove
from regard.design.clipped import ClippedSoftmax
from regard.design.fixed_value import FixedValueBias
from regard.design.key_bias import KeyBias, KeyValueBias, ScaledSoftmax, SoftmaxOffByOne, ValueBias
from regard.design.normaliser import EluAttention, EluKernelAttention, SigmoidAttention
from regard.design.p_normalised import PNormalised
from regard.design.shared_bias import SharedKeyValueBias
from regard.design.signed import SignedAttention
from regard.design.sink_logit import SinkLogit
from regard.design.softpick import Softpick
from regard.design.stored import load, save
from regard.edit import ScaleHeads
from regard.measure import SinkShare

DESIGNS = [
    KeyBias(),
    KeyValueBias(),
    SoftmaxOffByOne(),
    ValueBias(),
    ScaledSoftmax(0.3),
    SinkLogit(),
    FixedValueBias(2.0),
    FixedValueBias(2.0, "all"),
    SharedKeyValueBias(),
    ClippedSoftmax(-0.2, 1.3),
    Softpick(),
    *(PNormalised(p, of) for p in (0.5, 2.0) for of in ("exp", "sigmoid")),
    *(SignedAttention(kernel, normalise) for kernel in ("identity", "mlp") for normalise in (False, True)),
    *(kind(normalise) for kind in (SigmoidAttention, EluAttention, EluKernelAttention) for normalise in (False, True)),
]
NEARLY = ScaleHeads([(0, 1)], 1 - 1e-7)
"""Changes next to nothing, and has the lens compute the attention itself."""


def llama() -> LlamaForCausalLM:
    """A Llama of grouped heads whose scores are far from 0."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.3, bos_token_id=0, eos_token_id=None,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def inputs() -> dict[str, Tensor]:
    """Two texts of 11 tokens, the first of them padded on the left."""
    torch.manual_seed(1)
    mask = torch.ones(2, 11, dtype=torch.long)
    mask[0, :3] = 0
    return {"input_ids": torch.randint(1, 50, (2, 11)), "attention_mask": mask}


def logits(model: nn.Module, given: dict[str, Tensor]) -> Tensor:
    """Logits of the tokens that are no padding."""
    with torch.no_grad():
        found: Tensor = model(**given).logits
    return found[given["attention_mask"].bool()]


def dense(design: AttentionDesign, given: Given, learnt: Learnt) -> Tensor:
    """The rows of the paper's table, written out key by key."""
    out = torch.zeros_like(given.q)
    for b, h, i in torch.cartesian_prod(*(torch.arange(n) for n in given.q.shape[:3])).tolist():
        kv = h // (given.q.shape[1] // given.k.shape[1])
        seen = [j for j in range(given.k.shape[2]) if given.mask[b, 0, i, j]]
        q, k, v = given.q[b, h, i], given.k[b, kv, seen], given.v[b, kv, seen]
        s = k @ q * given.scale
        match design:
            case KeyBias() | KeyValueBias() | SoftmaxOffByOne() | FixedValueBias() | SharedKeyValueBias():
                star = 0 if isinstance(design, SharedKeyValueBias) else kv
                extra = (
                    torch.tensor(1.0)
                    if isinstance(design, SoftmaxOffByOne)
                    else (learnt["k"][star, 0] @ q * given.scale).exp()
                )
                value = torch.zeros_like(q)
                if isinstance(design, KeyValueBias | SharedKeyValueBias):
                    value = learnt["v"][star, 0]
                elif isinstance(design, FixedValueBias) and design.along == "first":
                    value = 2.0 * torch.eye(len(q), dtype=q.dtype)[0]
                elif isinstance(design, FixedValueBias):
                    value = torch.full_like(q, 2.0 / len(q) ** 0.5)
                out[b, h, i] = (s.exp() @ v + extra * value) / (s.exp().sum() + extra)
            case ValueBias():
                out[b, h, i] = s.softmax(0) @ v + learnt["v"][h, 0]
            case SinkLogit():
                out[b, h, i] = s.exp() @ v / (s.exp().sum() + learnt["b"][h].exp())
            case ClippedSoftmax(gamma, zeta):
                out[b, h, i] = ((zeta - gamma) * s.softmax(0) + gamma).clamp(0, 1) @ v
            case Softpick():
                out[b, h, i] = (s.exp() - 1).clamp_min(0) @ v / (s.exp() - 1).abs().sum()
            case PNormalised(p, of):
                f = s.exp() if of == "exp" else 1 / (1 + (-s).exp())
                out[b, h, i] = f @ v / (f**p).sum() ** (1 / p)
            case SignedAttention():
                if design.kernel == "mlp":
                    mlp: Callable[[Tensor], Tensor] = lambda x: learnt["w2"] @ (learnt["w1"] @ x).clamp_min(0)  # noqa: E731
                    s = torch.stack([mlp(row) @ mlp(q) for row in k]) * given.scale
                out[b, h, i] = s @ v / (max(abs(float(s.sum())), 1.0) if design.normalise else 1.0)
            case ScaledSoftmax(total):
                out[b, h, i] = total * s.softmax(0) @ v
            case SigmoidAttention() | EluAttention() | EluKernelAttention():
                if isinstance(design, SigmoidAttention):
                    f = 1 / (1 + (-s).exp())
                elif isinstance(design, EluAttention):
                    f = torch.where(s > 0, s + 1, s.exp())
                else:
                    phi: Callable[[Tensor], Tensor] = lambda x: torch.where(x > 0, x + 1, x.exp())  # noqa: E731
                    f = phi(k) @ phi(q) * given.scale
                out[b, h, i] = (f / f.sum() if design.normalise else f) @ v
    return out


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_the_fast_function_is_the_table(design: AttentionDesign) -> None:
    torch.manual_seed(2)
    q, k, v = (torch.randn(2, heads, tokens, 8, dtype=torch.float64) for heads, tokens in ((4, 5), (2, 7), (2, 7)))
    mask = torch.ones(2, 1, 5, 7, dtype=torch.bool).tril(2)
    mask[0, :, :, 0] = False
    given = Given(q, k, v, mask, 0.4, 0.0)
    learnt = Learnt(design, Heads(4, 2, 8), q)
    for parameter in learnt.parameters():
        nn.init.normal_(parameter)
    with torch.no_grad():
        torch.testing.assert_close(design.attend(given, learnt), dense(design, given, learnt), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_a_lens_computes_what_the_model_does_and_removal_is_exact(design: AttentionDesign) -> None:
    model, given = llama(), inputs()
    plain = logits(model, given)
    apply(model, design)
    for name, parameter in model.named_parameters():
        if "attention_design" in name:
            nn.init.normal_(parameter)
    own = logits(model, given)
    assert (own - plain).abs().max() > 1e-2
    lens = regard.attach(model)
    with lens.edit(NEARLY):
        torch.testing.assert_close(logits(model, given), own, atol=2e-5, rtol=1e-4)
    remove(model)
    assert torch.equal(logits(model, given), plain) and not hasattr(model.config, "attention_before_design")


@pytest.mark.parametrize(
    "design",
    [
        KeyValueBias(),
        SigmoidAttention(),
        EluKernelAttention(True),
        SinkLogit(),
        SharedKeyValueBias(),
        ClippedSoftmax(),
        Softpick(),
        PNormalised(2.0, "sigmoid"),
        SignedAttention("mlp", normalise=True),
    ],
    ids=str,
)
def test_it_generates_with_a_cache_as_without_trains_and_is_stored(design: AttentionDesign, tmp_path: Path) -> None:
    model, given = llama(), inputs()
    apply(model, design)
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


def test_a_key_bias_without_weight_is_softmax_and_its_share_is_what_a_lens_says() -> None:
    model, given = llama(), inputs()
    plain = logits(model, given)
    apply(model, SoftmaxOffByOne())
    assert float(regard.attach(model).measure(given, [SinkShare()])["sink_share"].mean.min()) > 0.01
    remove(model)
    torch.manual_seed(3)
    q, k, v = (torch.randn(1, 2, 3, 4) for _ in range(3))
    learnt = Learnt(KeyBias(), Heads(2, 2, 4), q)
    given_call = Given(q.abs(), k, v, torch.ones(1, 1, 3, 3, dtype=torch.bool), 1.0, 0.0)
    with torch.no_grad():
        learnt["k"].fill_(-1e4)
        found = KeyBias().attend(given_call, learnt)
    torch.testing.assert_close(found, nn.functional.scaled_dot_product_attention(q.abs(), k, v, scale=1.0))
    assert torch.equal(logits(model, given), plain)


@pytest.mark.parametrize(
    ("design", "same"),
    [
        (FixedValueBias(0.0), KeyBias()),
        (SinkLogit(), SoftmaxOffByOne()),
        (ClippedSoftmax(0.0, 1.0), ScaledSoftmax(1.0)),
        (PNormalised(1.0), ScaledSoftmax(1.0)),
        (PNormalised(1.0, "sigmoid"), SigmoidAttention(True)),
    ],
    ids=str,
)
def test_designs_meet_where_their_equations_do(design: AttentionDesign, same: AttentionDesign) -> None:
    torch.manual_seed(4)
    q, k, v = (torch.randn(1, 2, 6, 8) for _ in range(3))
    given = Given(q, k, v, torch.ones(6, 6, dtype=torch.bool).tril(), 1.0, 0.0)
    one, other = (Learnt(kind, Heads(2, 2, 8), q) for kind in (design, same))
    with torch.no_grad():
        for name, parameter in one.named_parameters():
            parameter.zero_() if name == "b" else parameter.copy_(other[name])
        torch.testing.assert_close(design.attend(given, one), same.attend(given, other), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("of", ["exp", "sigmoid"])
def test_a_high_power_of_flat_rows_does_not_underflow(of: Literal["exp", "sigmoid"]) -> None:
    model = llama()
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.q_proj.weight.mul_(0.1)
    given = {name: value.repeat(1, 4) for name, value in inputs().items()}
    given["attention_mask"][0, 3:] = 1
    apply(model, PNormalised(40.0, of))
    own = logits(model, given)
    with regard.attach(model).edit(NEARLY):
        torch.testing.assert_close(logits(model, given), own, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "kind", [lambda: PNormalised(0.0), lambda: ClippedSoftmax(0.1), lambda: ClippedSoftmax(0, 0.9)]
)
def test_settings_that_are_no_design_are_refused(kind: Callable[[], AttentionDesign]) -> None:
    with pytest.raises(ValueError, match=r"not (0\.0|0\.1|0) ?"):
        kind()


def test_other_models_and_a_second_design_are_refused() -> None:
    with pytest.raises(ValueError, match="does not attend through"):
        apply(nn.Linear(2, 2), KeyBias())
    model = llama()
    apply(model, KeyBias())
    with pytest.raises(ValueError, match="already"):
        apply(model, ValueBias())
    remove(model)
    with pytest.raises(ValueError, match="no attention design"):
        remove(model)


def test_what_is_learnt_is_floating_point_and_on_a_device() -> None:
    model = llama().bfloat16()
    for layer in model.model.layers:  # weights of 4 bits are packed into bytes
        layer.self_attn.q_proj.weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.uint8), requires_grad=False)
        for name in ("k_proj", "v_proj", "o_proj"):
            getattr(layer.self_attn, name).to("meta")
    apply(model, KeyBias())
    learnt = [parameter for name, parameter in model.named_parameters() if "design" in name]
    assert {(one.dtype, one.device.type) for one in learnt} == {(torch.bfloat16, "cpu")} and len(learnt) == 2
    remove(model)
    model.to("meta")
    with pytest.raises(ValueError, match="LlamaForCausalLM has none in floating point"):
        apply(model, KeyBias())
    assert model.config._attn_implementation != "regard_design"
    apply(model, SoftmaxOffByOne())  # which learns nothing


def test_a_design_runs_in_layers_that_are_offloaded() -> None:
    import accelerate

    found = []
    for offloaded in (False, True):
        model = llama()
        if offloaded:
            accelerate.cpu_offload(model.model.layers, execution_device="cpu")
            assert all(parameter.is_meta for parameter in model.model.layers.parameters())
        torch.manual_seed(5)
        apply(model, KeyBias())
        found.append(logits(model, inputs()))
    assert torch.equal(*found)


def test_one_token_repeated_is_everywhere_the_same_but_with_learnt_positions() -> None:
    from regard.papers.attention_sink_emergence import apart

    torch.manual_seed(0)
    shape = {"vocab_size": 50, "hidden_size": 32, "bos_token_id": 0, "eos_token_id": None, "initializer_range": 0.3}
    bloom = BloomForCausalLM(BloomConfig(**shape, n_layer=2, n_head=4)).eval()
    gpt2 = GPT2LMHeadModel(GPT2Config(**shape, n_layer=2, n_head=4, n_positions=64)).eval()
    assert apart(llama(), 7) < 1e-5 and apart(bloom, 7) < 1e-5
    assert apart(gpt2, 7) > 1.0


def test_weights_that_are_not_whole_are_refused_and_nothing_is_said_of_whole_ones(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from safetensors.torch import load_file, save_file

    model = llama()
    apply(model, KeyBias())
    save(model, tmp_path)
    capfd.readouterr()
    load(tmp_path)
    assert "UNEXPECTED" not in "".join(capfd.readouterr())
    whole = load_file(tmp_path / "model.safetensors")
    for lost, reason in (("layers.0.self_attn.q_proj", "lack model.layers.0"), ("design.k", "design.json says")):
        rest = {name: value for name, value in whole.items() if lost not in name}
        assert len(rest) < len(whole)
        save_file(rest, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=reason):
            load(tmp_path)
