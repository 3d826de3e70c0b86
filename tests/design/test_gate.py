"""Gates against plain restatements, in real classes with random weights."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers.models.qwen3_next.configuration_qwen3_next import Qwen3NextConfig
from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextAttention

import regard
from regard.design.gate import Gate, gated, remove_gates
from regard.design.gate_layouts import join_gate, split_gate, split_gates
from regard.design.gate_values import gate_values, openness
from regard.design.stored import load, save

SIZES: dict[str, Any] = {
    "vocab_size": 40, "hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 8,
    "num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.2, "pad_token_id": 0,
}  # fmt: skip
IDS = torch.randint(1, 40, (2, 11), generator=torch.Generator().manual_seed(0))
GATES = [
    Gate(),
    Gate(kind="headwise"),
    Gate(kind="head-shared"),
    Gate(activation="ns-sigmoid"),
    Gate(activation="silu", preserving=False),
    Gate(activation="silu", additive=True),
    Gate(inputs=0),
    Gate(inputs=12, bias=True),
    Gate(at="value"),
    Gate(at="key", kind="headwise"),
    Gate(at="query"),
    Gate(at="projected"),
]


def llama(**options: Any) -> LlamaForCausalLM:
    """A random Llama in which two heads of eight share keys with six others."""
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SIZES | options)).eval()


def opened(model: Any) -> Any:
    """Give a model's gates random weights, so that they differ by head and token."""
    torch.manual_seed(1)
    for module in gated(model).values():
        for parameter in module.get_submodule("gate_proj").parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return model


@torch.no_grad()
def logits(model: Any, ids: Tensor = IDS, **options: Any) -> Tensor:
    return model(input_ids=ids, **options).logits


def restated(model: Any, design: Gate, x: Tensor, layer: int = 0) -> Tensor:
    """One module's output, written out with dense weights, by the formulas of the paper."""
    attention = model.model.layers[layer].self_attn
    heads, kv, dim = 8, 2, 8
    w = attention.gate_proj.weight
    width = x.shape[-1] if design.inputs is None else design.inputs
    u = x[..., :width] @ w.T
    if attention.gate_proj.bias is not None:
        u = u + attention.gate_proj.bias

    def gate(y: Tensor) -> Tensor:  # [batch, token, head, dim]
        logits = u.reshape(*y.shape[:3], -1)
        if design.kind == "head-shared":
            logits = logits.mean(2, keepdim=True)
        if design.additive:
            return y + logits * torch.sigmoid(logits)
        sigmoid = torch.sigmoid(logits)
        value, start = {
            "sigmoid": (sigmoid, 0.5), "ns-sigmoid": (0.5 + 0.5 * sigmoid, 0.75), "silu": (logits * sigmoid, 1.0)
        }[design.activation]  # fmt: skip
        return y * value / (start if design.preserving else 1)

    def at(place: str, y: Tensor) -> Tensor:
        return gate(y) if design.at == place else y

    batch, length = x.shape[:2]
    q = at("query", attention.q_proj.weight.matmul(x[..., None])[..., 0].view(batch, length, heads, dim))
    k = at("key", (x @ attention.k_proj.weight.T).view(batch, length, kv, dim))
    v = at("value", (x @ attention.v_proj.weight.T).view(batch, length, kv, dim))
    cos, sin = model.model.rotary_emb(x, torch.arange(length)[None])

    def turn(t: Tensor) -> Tensor:
        one, two = t.chunk(2, -1)
        return t * cos[:, :, None] + torch.cat([-two, one], -1) * sin[:, :, None]

    q, k = turn(q).transpose(1, 2), turn(k).transpose(1, 2).repeat_interleave(4, 1)
    scores = q @ k.transpose(-1, -2) / dim**0.5
    scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
    y = (scores.softmax(-1) @ v.transpose(1, 2).repeat_interleave(4, 1)).transpose(1, 2)
    out = at("output", y).flatten(2) @ attention.o_proj.weight.T
    return at("projected", out[:, :, None])[:, :, 0] if design.at == "projected" else out


@pytest.mark.parametrize("design", GATES, ids=str)
def test_a_gate_is_what_the_paper_writes(design: Gate) -> None:
    model = llama()
    design.put(model)
    opened(model)
    x = torch.randn(2, 11, 64, generator=torch.Generator().manual_seed(2))
    attention = model.model.layers[0].self_attn
    with torch.no_grad():
        cos_sin = model.model.rotary_emb(x, torch.arange(11)[None])
        out = attention(hidden_states=x, position_embeddings=cos_sin, attention_mask=None)[0]
        torch.testing.assert_close(out, restated(model, design, x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("design", [one for one in GATES if one.preserving], ids=str)
def test_putting_a_gate_in_changes_nothing_and_taking_it_out_leaves_the_same_bits(
    design: Gate, implementation: str
) -> None:
    model = llama(attn_implementation=implementation)
    before, weights = logits(model), copy.deepcopy(model.state_dict())
    assert len(design.put(model)) == 2
    assert (logits(model) - before).abs().max() < 1e-4
    assert (logits(opened(model)) - before).abs().max() > 1e-2
    remove_gates(model)
    after = model.state_dict()
    assert after.keys() == weights.keys() and all(torch.equal(after[name], weights[name]) for name in weights)
    assert torch.equal(logits(model), before)
    with pytest.raises(ValueError, match="no gates"):
        remove_gates(model)


def test_open_gates_are_the_plain_model_and_closed_ones_no_attention() -> None:
    model: Any = llama()
    before = logits(model)
    Gate(preserving=False, bias=True).put(model)
    found = []
    for value in (30.0, -200.0):
        for layer in model.model.layers:
            torch.nn.init.zeros_(layer.self_attn.gate_proj.weight)
            torch.nn.init.constant_(layer.self_attn.gate_proj.bias, value)
        found.append(logits(model))
    torch.testing.assert_close(found[0], before, atol=1e-5, rtol=1e-5)
    for layer in model.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
    torch.testing.assert_close(found[1], logits(model))


@pytest.mark.parametrize("design", GATES, ids=str)
def test_cached_generation_is_recomputation(design: Gate) -> None:
    model = llama()
    design.put(model)
    opened(model)
    options = {"max_new_tokens": 6, "do_sample": False, "attention_mask": torch.ones_like(IDS), "eos_token_id": None}
    cached, plain = (model.generate(IDS, use_cache=use, **options) for use in (True, False))
    assert torch.equal(cached, plain)


@pytest.mark.parametrize("design", [Gate(), Gate(kind="headwise"), Gate(at="value")], ids=str)
def test_padding_and_batches(design: Gate) -> None:
    model = llama()
    design.put(model)
    opened(model)
    ids, mask = IDS.clone(), torch.ones_like(IDS)
    ids[0, :4], mask[0, :4] = 0, 0
    alone = logits(model, ids[:1, 4:])
    together = logits(model, ids, attention_mask=mask)
    torch.testing.assert_close(together[:1, 4:], alone, atol=1e-5, rtol=1e-4)


def test_sigmoids_are_taken_in_float32() -> None:
    design = Gate(preserving=False)
    model = llama().bfloat16()
    design.put(model)
    attention = model.model.layers[0].self_attn
    assert attention.gate_proj.weight.dtype == torch.bfloat16
    u = torch.linspace(-12, -3, 64, dtype=torch.bfloat16).expand(1, 1, 64)
    exact = torch.sigmoid(u.double()).view(1, 1, 8, 8)
    torch.testing.assert_close(attention.gate_proj.values(u).double(), exact, rtol=1e-6, atol=0)
    assert logits(model).dtype == torch.bfloat16 and logits(model).isfinite().all()


@pytest.mark.parametrize("design", [Gate(), Gate(kind="headwise", activation="ns-sigmoid"), Gate(inputs=0)], ids=str)
def test_a_gated_model_is_saved_and_loaded(design: Gate, tmp_path: Path) -> None:
    model = llama()
    design.put(model)
    save(opened(model), tmp_path)
    again = load(tmp_path).eval()
    assert torch.equal(logits(again), logits(model))


def test_a_copy_has_gates_of_its_own() -> None:
    model = llama()
    Gate().put(model)
    before = logits(opened(model))
    other = copy.deepcopy(model)
    for module in gated(other).values():
        torch.nn.init.zeros_(module.get_parameter("gate_proj.weight"))
    assert torch.equal(logits(model), before) and not torch.equal(logits(other), before)


def test_gates_learn_also_where_activations_are_recomputed() -> None:
    grads = []
    for checkpointing in (False, True):
        model = llama().train()
        Gate(kind="headwise").put(model)
        opened(model)
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(input_ids=IDS, labels=IDS).loss.backward()
        grads.append([module.get_parameter("gate_proj.weight").grad for module in gated(model).values()])
    for one, other in zip(*grads, strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("config", "kind"), [(Qwen3Config, Qwen3ForCausalLM), (MistralConfig, MistralForCausalLM)], ids=["qwen3", "mistral"]
)
def test_other_families(config: Any, kind: Any) -> None:
    torch.manual_seed(0)
    model = kind(config(**SIZES)).eval()
    before = logits(model)
    Gate().put(model)
    assert (logits(model) - before).abs().max() < 1e-4
    assert (logits(opened(model)) - before).abs().max() > 1e-2


def test_the_layout_of_qwen3_next_gives_the_same_output() -> None:
    torch.manual_seed(3)
    config = Qwen3NextConfig(**SIZES | {"attn_implementation": "sdpa"})
    theirs = Qwen3NextAttention(config, 0).eval()
    ours = Qwen3ForCausalLM(Qwen3Config(**SIZES)).eval()
    Gate(preserving=False).put(ours)
    attention = ours.model.layers[0].self_attn
    state = {f"a.{name}": value for name, value in theirs.state_dict().items()}
    state = {name[2:]: value for name, value in split_gates(state, 8, 2, 8, "head").items()}
    state |= {name: 1 + state[name] for name in ("q_norm.weight", "k_norm.weight")}  # Qwen3-Next's norms count from 1
    attention.load_state_dict(state)
    x = torch.randn(2, 11, 64)
    places = ours.model.rotary_emb(x, torch.arange(11)[None])
    with torch.no_grad():
        for module in (theirs, attention):
            module.scaling = 8**-0.5
        found, expected = (
            m(hidden_states=x, position_embeddings=places, attention_mask=None)[0] for m in (attention, theirs)
        )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    with gate_values(theirs) as values, torch.no_grad():
        theirs(hidden_states=x, position_embeddings=places, attention_mask=None)
    with gate_values(ours) as own, torch.no_grad():
        attention(hidden_states=x, position_embeddings=places, attention_mask=None)
    torch.testing.assert_close(values[""], own["model.layers.0.self_attn"])


@pytest.mark.parametrize("rows", [1, 8], ids=["headwise", "elementwise"])
def test_the_layout_of_the_papers_code(rows: int) -> None:
    heads, kv, dim = 8, 2, 8
    packed = torch.randn(heads * (dim + rows), 64, generator=torch.Generator().manual_seed(0))
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(1))
    out = (x @ packed.T).view(3, kv, -1)  # as its forward pass does: split per group
    query, gate = out.split([4 * dim, 4 * rows], -1)
    q, g = split_gate(packed, heads, kv, dim, "group")
    torch.testing.assert_close(x @ q.T, query.reshape(3, -1))
    torch.testing.assert_close(x @ g.T, gate.reshape(3, -1))
    for layout in ("group", "head"):
        assert torch.equal(join_gate(*split_gate(packed, heads, kv, dim, layout), heads, kv, layout), packed)
    assert not torch.equal(split_gate(packed, heads, kv, dim, "head")[0], q)
    with pytest.raises(ValueError, match="rows"):
        split_gate(packed[:-1], heads, kv, dim, "group")


def test_gates_are_read_and_give_effective_weights() -> None:
    model = llama()
    Gate(kind="headwise", preserving=False).put(model)
    opened(model)
    lens = regard.attach(model)
    x = lens.encode({"input_ids": IDS, "attention_mask": torch.ones_like(IDS)})
    with gate_values(model) as gates:
        logits(model)
    values = gates["model.layers.1.self_attn"]
    assert values.shape == (2, 11, 8, 1)
    weights = lens.weights(x, layer=1)
    effective = values.transpose(1, 2) * weights
    torch.testing.assert_close(effective.sum(-1), values[..., 0].transpose(1, 2), atol=1e-5, rtol=1e-5)
    mean, closed = openness(gates, torch.ones_like(IDS, dtype=torch.bool))
    torch.testing.assert_close(mean[1], values[..., 0].mean((0, 1)))
    torch.testing.assert_close(closed[1], (values[..., 0] < 0.1).float().mean((0, 1)))
    with pytest.raises(ValueError, match="has no gates"), gate_values(llama()):
        pass


def test_a_gated_model_is_measured_and_edited() -> None:
    model = llama()
    Gate(kind="headwise").put(model)
    opened(model)
    plain = logits(model)
    lens = regard.attach(model)
    x = lens.encode({"input_ids": IDS, "attention_mask": torch.ones_like(IDS)})
    measured = lens.measure(x, [regard.SinkMass()])
    eager = llama(attn_implementation="eager")
    Gate(kind="headwise").put(eager)
    opened(eager)
    maps = eager(input_ids=IDS, output_attentions=True).attentions
    expected = torch.stack([one[..., 0].mean((0, 2)) for one in maps])
    torch.testing.assert_close(measured["sink_mass"].mean.float(), expected.float(), atol=1e-5, rtol=1e-4)
    with lens.edit(regard.ZeroHeads([(0, 3)])):
        edited = logits(model)
    assert not torch.allclose(edited, plain)
    o = model.model.layers[0].self_attn.o_proj
    with torch.no_grad():
        o.weight[:, 24:32] = 0
    torch.testing.assert_close(edited, logits(model), atol=1e-5, rtol=1e-4)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="preserves nothing"):
        Gate(activation="silu")
    with pytest.raises(ValueError, match="added"):
        Gate(additive=True)
    with pytest.raises(ValueError, match="no gate of kind"):
        Gate(kind="each")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no self-attention"):
        Gate().put(torch.nn.Linear(2, 2))
    model = llama()
    Gate().put(model)
    with pytest.raises(ValueError, match="remove them first"):
        Gate(kind="headwise").put(model)
