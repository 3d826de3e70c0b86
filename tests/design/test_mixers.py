"""Mixers in the place of attention: each is its formula, generates and trains, is heard, stored, and taken out again."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import regard
from regard.design.key_score import KeyScoreAttention, KeyScores
from regard.design.mixer import (
    PLACES,
    Mixer,
    decoder_layers,
    mixer_of,
    one_layer_each,
    remove_mixer,
    replaced,
    skipping,
)
from regard.design.other_source import EmbeddingQK, RandomQK, TextQK
from regard.design.stored import described, load, made, save
from regard.design.taylor import TaylorAttention
from regard.design.token_mlp import TokenMLP
from regard.edit import ScaleHeads

TEXT = tuple(torch.randint(0, 50, (40,), generator=torch.Generator().manual_seed(7)).tolist())
MIXERS: list[Any] = [
    TokenMLP(),
    TokenMLP("hybrid"),
    KeyScores(),
    KeyScores((1,)),
    TaylorAttention(),
    TaylorAttention("odd"),
    EmbeddingQK(),
    EmbeddingQK("hybrid"),
    TextQK(TEXT),
    TextQK(TEXT, "hybrid"),
    RandomQK(40),
    RandomQK(40, place="odd"),
]
SHAPE: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "initializer_range": 0.3, "bos_token_id": 0, "eos_token_id": None,
}  # fmt: skip


def make(kind: str = "llama", **other: Any) -> Any:
    torch.manual_seed(0)
    match kind:
        case "qwen2":
            return Qwen2ForCausalLM(Qwen2Config(**{**SHAPE, "num_key_value_heads": 4, **other})).eval()
        case "qwen3":
            return Qwen3ForCausalLM(Qwen3Config(**{**SHAPE, "num_key_value_heads": 2, "head_dim": 8, **other})).eval()
    return LlamaForCausalLM(LlamaConfig(**{**SHAPE, "num_key_value_heads": 2, **other})).eval()


def inputs() -> dict[str, Tensor]:
    """Two texts of 11 tokens, the first of them padded on the left."""
    mask = torch.ones(2, 11, dtype=torch.long)
    mask[0, :3] = 0
    return {
        "input_ids": torch.randint(1, 50, (2, 11), generator=torch.Generator().manual_seed(1)),
        "attention_mask": mask,
    }


def logits(model: Any, given: dict[str, Tensor]) -> Tensor:
    """Logits of the tokens that are no padding."""
    with torch.no_grad():
        found: Tensor = model(**given).logits
    return found[given["attention_mask"].bool()] if "attention_mask" in given else found


def inside(model: Any, layer: int, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a layer's attention is given and what it gives, [batch, token, width]."""
    met: list[tuple[Tensor, Tensor]] = []
    handle = decoder_layers(model)[layer].self_attn.register_forward_hook(
        lambda module, args, kwargs, out: met.append((kwargs["hidden_states"], out[0])), with_kwargs=True
    )
    with torch.no_grad():
        model(input_ids=ids)
    handle.remove()
    return met[0]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("mixer", MIXERS, ids=str)
def test_it_generates_trains_is_heard_and_is_taken_out_again(mixer: Mixer, kind: str) -> None:
    model, given = make(kind), inputs()
    plain, count = logits(model, given), sum(p.numel() for p in model.parameters())
    mixer.put(model)
    own = logits(model, given)
    assert (own - plain).abs().max() > 1e-2
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(count, rel=1e-2)
    silent = replaced(mixer.place, 4) if isinstance(mixer, TokenMLP) else ()
    heard = [layer for layer in range(4) if layer not in silent]
    if heard:
        lens = regard.attach(model)
        assert len(lens.measure(given, [regard.Entropy()]).sites) == len(heard)
        with lens.edit(ScaleHeads([(heard[-1], 1)], 1 - 1e-7)):  # next to nothing, and the lens attends by itself
            torch.testing.assert_close(logits(model, given), own, atol=3e-5, rtol=1e-4)
    with_cache, without = (
        model.generate(**given, max_new_tokens=6, do_sample=False, use_cache=use, pad_token_id=0)
        for use in (True, False)
    )
    assert torch.equal(with_cache, without)
    model(**given, labels=given["input_ids"]).loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
    half = copy.deepcopy(model).to(torch.bfloat16)
    torch.testing.assert_close(logits(half, given).float(), own, atol=1.0, rtol=0.1)
    assert torch.equal(logits(model, given), own)
    remove_mixer(model)
    assert torch.equal(logits(model, given), plain) and mixer_of(model) is None


@pytest.mark.parametrize("mixer", MIXERS, ids=str)
def test_it_is_stored(mixer: Mixer, tmp_path: Path) -> None:
    model, given = make(), inputs()
    mixer.put(model)
    save(model, tmp_path)
    assert torch.equal(logits(load(tmp_path).eval(), given), logits(model, given))
    assert type(made(described(mixer))) is type(mixer)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_queries_and_keys_of_the_text_itself_are_standard_attention(kind: str) -> None:
    model, ids = make(kind), inputs()["input_ids"]
    for row in ids:
        plain = [inside(model, layer, row[None])[1] for layer in range(4)]
        TextQK(tuple(row.tolist())).put(model)
        for layer in range(4):
            torch.testing.assert_close(inside(model, layer, row[None])[1], plain[layer], atol=1e-6, rtol=0)
        remove_mixer(model)


def test_embeddings_change_nothing_in_the_first_layer_alone() -> None:
    model, ids = make(), inputs()["input_ids"]
    plain = [inside(model, layer, ids)[1] for layer in (0, 1)]
    EmbeddingQK().put(model)
    assert torch.equal(inside(model, 0, ids)[1], plain[0]) and not torch.allclose(inside(model, 1, ids)[1], plain[1])
    maps = regard.attach(model).weights({"input_ids": ids}, 2)[0, 1]
    layer: Any = decoder_layers(model)[2]
    with torch.no_grad():
        states = layer.input_layernorm(model.model.embed_tokens(ids[:1]))
        places = torch.arange(11)[None]
        from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

        q, k = (
            getattr(layer.self_attn, f"{n}_proj")(states).unflatten(-1, (-1, 8)).transpose(1, 2) for n in ("q", "k")
        )
        q, k = apply_rotary_pos_emb(q, k, *model.model.rotary_emb(states, places))
    scores = q[0, 1] @ k[0, 0].T / 8**0.5
    causal = torch.ones(11, 11, dtype=torch.bool).tril()
    torch.testing.assert_close(maps, scores.masked_fill(~causal, -torch.inf).softmax(-1), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mixer", [TextQK(TEXT), RandomQK(40)], ids=str)
def test_maps_are_those_of_the_side_stream_whatever_the_text(mixer: Mixer) -> None:
    model, ids = make(), inputs()["input_ids"]
    fixed = TEXT[:11] if isinstance(mixer, TextQK) else None
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(1, 40, 32, generator=generator)[:, :11] * SHAPE["initializer_range"]
    given = {"inputs_embeds": drawn} if fixed is None else {"input_ids": torch.tensor([fixed])}
    theirs = [regard.attach(model).weights(given, layer)[0] for layer in range(4)]
    mixer.put(model)
    for layer, expected in enumerate(theirs):
        own = regard.attach(model).weights({"input_ids": ids}, layer)
        torch.testing.assert_close(own, expected.expand(2, -1, -1, -1), atol=1e-5, rtol=1e-3)


def test_the_side_stream_follows_training_moving_and_new_parameters() -> None:
    model, ids = make(), inputs()["input_ids"]
    TextQK(TEXT).put(model)
    before = logits(model, {"input_ids": ids})
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    model(input_ids=ids, labels=ids).loss.backward()
    optimiser.step()
    stepped = logits(model, {"input_ids": ids})
    assert not torch.allclose(stepped, before, atol=1e-4)
    fresh = make()
    fresh.load_state_dict(model.state_dict())
    TextQK(TEXT).put(fresh)
    torch.testing.assert_close(logits(fresh, {"input_ids": ids}), stepped)
    with torch.no_grad():
        layer: Any = decoder_layers(fresh)[1]
        layer.mlp.down_proj.weight = nn.Parameter(layer.mlp.down_proj.weight * 0)  # which the stream's layer has, too
        first = regard.attach(fresh).weights({"input_ids": ids}, 2)
    expected = make()
    expected.load_state_dict(fresh.state_dict())
    torch.testing.assert_close(first[:1], regard.attach(expected).weights({"input_ids": torch.tensor([TEXT[:11]])}, 2))
    double = copy.deepcopy(fresh).double()
    torch.testing.assert_close(
        logits(double, {"input_ids": ids}).float(), logits(fresh, {"input_ids": ids}), atol=1e-4, rtol=1e-4
    )


def recurrent(model: Any, attention: Any, hidden: Tensor) -> Tensor:
    """Key scores as the running sums of the paper, with a running maximum, token by token: [batch, head, token, dim]."""
    scores, v = attention.scores(hidden), attention._heads("v", hidden)
    top = torch.full_like(scores[..., 0], -torch.inf)
    n, z, out = torch.zeros_like(v[:, :, 0]), torch.zeros_like(top), []
    for i in range(hidden.shape[1]):
        higher = torch.maximum(top, scores[..., i])
        fade, new = (top - higher).exp(), (scores[..., i] - higher).exp()
        n, z, top = n * fade[..., None] + new[..., None] * v[:, :, i], z * fade + new, higher
        out.append(n / z[..., None])
    return torch.stack(out, 2)


@pytest.mark.parametrize("kind", ["llama", "qwen3"])
def test_key_scores_are_running_sums_with_one_profile_for_all_queries(kind: str) -> None:
    model = make(kind).double()
    ids = inputs()["input_ids"]
    KeyScores().put(model)
    hidden, out = inside(model, 1, ids)
    attention: Any = decoder_layers(model)[1].self_attn
    with torch.no_grad():
        again = attention.o_proj(recurrent(model, attention, hidden).transpose(1, 2).flatten(2))
    torch.testing.assert_close(out, again, atol=1e-10, rtol=1e-8)
    weights = regard.attach(model).weights({"input_ids": ids}, 1).double()
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)))
    profile = weights / weights[..., :1]  # A_ij / A_i0 does not depend on i where i sees j
    for j in range(1, 11):
        seen = profile[:, :, j:, j]
        torch.testing.assert_close(seen, seen[:, :, :1].expand_as(seen), atol=1e-8, rtol=1e-5)
    q, k = (attention._heads(n, hidden) for n in "qk")
    dense = torch.stack([(nn.functional.silu(q[:, :, j]) * k[:, :, j]).sum(-1) for j in range(11)], -1)
    torch.testing.assert_close(attention.scores(hidden), dense)


def test_rotary_embeddings_change_no_key_score() -> None:
    model = make()
    ids = inputs()["input_ids"]
    KeyScores().put(model)
    plain = logits(model, {"input_ids": ids})
    places = torch.arange(11)[None] * 3 + 5
    torch.testing.assert_close(logits(model, {"input_ids": ids, "position_ids": places}), plain)


def test_a_score_in_bfloat16_keeps_its_small_differences() -> None:
    model = make().to(torch.bfloat16)
    KeyScores().put(model)
    attention: Any = decoder_layers(model)[0].self_attn
    hidden = 3 * torch.randn(1, 11, 32, generator=torch.Generator().manual_seed(3)).to(torch.bfloat16)
    met: list[Tensor] = []
    from transformers import AttentionInterface

    def listen(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **given: Any) -> tuple[Tensor, None]:
        met.append(query.double() @ key.double().transpose(-1, -2))
        return value.transpose(1, 2).contiguous(), None

    AttentionInterface.register("listening_here", listen)
    try:
        model.config._attn_implementation_internal = "listening_here"
        with torch.no_grad():
            attention(hidden_states=hidden, attention_mask=None)
    finally:
        AttentionInterface._global_mapping.pop("listening_here", None)
    wanted = attention.scores(hidden).detach().double()
    assert float(wanted.abs().max()) > 20
    torch.testing.assert_close(met[0][:, :, 0], wanted, atol=1e-4, rtol=1e-5)


def test_the_taylor_series_is_running_sums_and_near_softmax_for_small_scores() -> None:
    x = torch.linspace(-0.1, 0.1, 41)
    assert float((TaylorAttention().weights(x) - x.exp()).abs().max()) < 2e-4
    assert float(TaylorAttention().weights(torch.linspace(-9, 9, 999)).min()) >= 0.5
    model = make("qwen2", initializer_range=0.2).double()
    ids = inputs()["input_ids"]
    TaylorAttention().put(model)
    acts = regard.attach(model).cache({"input_ids": ids}, ["q.1", "k.1", "v.1"])
    _, out = inside(model, 1, ids)
    q, k, v = (acts[f"{n}.1"].double() for n in "qkv")
    q = q * 8**-0.5
    state = [torch.zeros(2, 4, d, 9, dtype=torch.float64) for d in (1, 8, 64)]
    rows = []
    for i in range(11):
        value = torch.cat([v[:, :, i], torch.ones(2, 4, 1, dtype=torch.float64)], -1)
        orders = [
            lambda t: t[..., :1] * 0 + 1,
            lambda t: t,
            lambda t: (t[..., None] * t[..., None, :]).flatten(-2) / 2**0.5,
        ]
        for n, order in enumerate(orders):
            state[n] = state[n] + order(k[:, :, i])[..., None] * value[..., None, :]
        total = sum((order(q[:, :, i])[..., None, :] @ state[n])[..., 0, :] for n, order in enumerate(orders))
        assert isinstance(total, Tensor)
        rows.append(total[..., :8] / total[..., 8:])
    attention: Any = decoder_layers(model)[1].self_attn
    with torch.no_grad():
        again = attention.o_proj(torch.stack(rows, 2).transpose(1, 2).flatten(2))
    torch.testing.assert_close(out, again, atol=1e-9, rtol=1e-8)


def test_an_mlp_mixes_no_tokens() -> None:
    model = make()
    TokenMLP().put(model)
    embedded = model.get_input_embeddings()(inputs()["input_ids"]).detach().requires_grad_()
    model(inputs_embeds=embedded).logits[:, 6].sum().backward()
    assert embedded.grad is not None
    assert float(embedded.grad[:, 6].abs().max()) > 0
    assert bool((embedded.grad[:, [0, 1, 2, 3, 4, 5, 7, 8, 9, 10]] == 0).all())


def test_an_mlp_is_floating_point_and_on_a_device_where_attention_is_not() -> None:
    model = make().bfloat16()
    attention: list[Any] = [layer.self_attn for layer in decoder_layers(model)]
    attention[0].o_proj.weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.uint8), requires_grad=False)
    attention[1].to("meta")
    TokenMLP().put(model)
    made = [parameter for layer in decoder_layers(model) for parameter in layer.self_attn.parameters()]
    assert {(one.dtype, one.device.type) for one in made} == {(torch.bfloat16, "cpu")}
    assert bool(logits(model, inputs()).isfinite().all())
    remove_mixer(model)
    with pytest.raises(ValueError, match="has none in floating point"):
        TokenMLP().put(model.to("meta"))
    assert [layer.self_attn for layer in decoder_layers(model)] == attention


def test_places_are_those_of_the_paper() -> None:
    kept = {name: [layer + 1 for layer in range(24) if layer not in replaced(name, 24)] for name in PLACES}
    assert kept["uniform"] == [] and kept["hybrid"] == list(range(2, 25, 2)) and kept["odd"] == list(range(1, 25, 2))
    assert kept["top"] == list(range(1, 13)) and kept["bottom"] == list(range(13, 25))
    assert kept["middle"] == [*range(1, 7), *range(19, 25)] and kept["quarter"] == [4, 8, 12, 16, 20, 24]
    assert (kept["first"], kept["last"], kept["bilateral"]) == ([1], [24], [1, 24])
    assert replaced((3, 1), 4) == (1, 3)


def test_skipping_leaves_out_the_layers_with_a_mixer() -> None:
    model, given = make(), inputs()
    KeyScores("hybrid").put(model)
    short = make(num_hidden_layers=2)
    state = model.state_dict()
    short.load_state_dict(
        {name: state[name.replace("layers.0", "layers.1") if "layers.0" in name else name.replace("layers.1", "layers.3")]
         for name in short.state_dict()}
    )  # fmt: skip
    whole = logits(model, given)
    with skipping(model):
        torch.testing.assert_close(logits(model, given), logits(short, given))
    assert torch.equal(logits(model, given), whole)


def test_one_layer_each_is_the_rise_of_the_loss() -> None:
    model, given = make(), inputs()
    batch = {**given, "labels": given["input_ids"]}
    with torch.no_grad():
        plain = float(model(**batch).loss)
        found = one_layer_each(model, KeyScores(), batch)
        KeyScores((2,)).put(model)
        assert float(model(**batch).loss) - plain == pytest.approx(float(found[2]), abs=1e-6)
    assert isinstance(decoder_layers(model)[2].self_attn, KeyScoreAttention) and len(found) == 4


def test_what_cannot_be_is_said() -> None:
    model = make()
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: KeyScores("all").put(model), "no place is named"),
        (lambda: KeyScores((4,)).put(model), "layers 0 to 3"),
        (lambda: TextQK((50,)).put(model), "tokens 0 to 49"),
        (lambda: RandomQK(0).put(model), "1 token or more"),
        (lambda: remove_mixer(model), "no mixer"),
        (lambda: skipping(model).__enter__(), "no mixer"),
        (
            lambda: KeyScores().put(BloomForCausalLM(BloomConfig(vocab_size=50, hidden_size=32, n_layer=1, n_head=4))),
            "no decoder",
        ),
    ]
    for act, reason in wrong:
        with pytest.raises(ValueError, match=reason):
            act()
    KeyScores().put(model)
    with pytest.raises(ValueError, match="has a mixer already"):
        TokenMLP().put(model)
    remove_mixer(model)
    RandomQK(8).put(model)
    with pytest.raises(ValueError, match="has 8 tokens, and one at place 10"):
        model(**inputs())
    assert logits(model, {"input_ids": inputs()["input_ids"][:, :8]}).shape[1] == 8
    remove_mixer(model)
    lens = regard.attach(model)
    with lens.edit(ScaleHeads([(0, 0)], 0.5)), pytest.raises(ValueError, match="a lens listens"):
        KeyScores().put(model)
