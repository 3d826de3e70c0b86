"""Each tier on real model classes: what is measured is the library's own attention, and measuring changes nothing."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import regard
from regard.core.protocols import Statistic

from .zoo import ALL, BERT, GPT2, LLAMA, TRANSFORMERS, UNET, Case, tokens

STATISTICS: list[Statistic] = [
    regard.SinkMass(),
    regard.Mass("rest"),
    regard.Entropy(),
    regard.Distance(),
    regard.Received(),
    regard.SinkRate(0.3),
]


def outputs(model: nn.Module, x: dict[str, Any]) -> torch.Tensor:
    """The first tensor that the model returns."""
    with torch.no_grad():
        return model(**x)[0]


def state(model: nn.Module) -> dict[str, Any]:
    """All that a lens could leave behind: hooks, implementations, registries, methods."""
    from transformers import cache_utils
    from transformers.masking_utils import AttentionMaskInterface
    from transformers.modeling_utils import AttentionInterface

    return {
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "implementations": [getattr(getattr(m, "config", None), "_attn_implementation", None) for m in model.modules()],
        "own": [sorted(k for k in vars(m) if not k.startswith("_")) for m in model.modules()],
        "registries": [sorted(AttentionInterface._global_mapping), sorted(AttentionMaskInterface._global_mapping)],
        "caches": [cache_utils.Cache.crop, cache_utils.Cache.reorder_cache, cache_utils.EncoderDecoderCache.crop],
        "weights": [p.clone() for p in model.parameters()],
    }


def same(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return all(before[key] == after[key] for key in before if key != "weights") and all(
        torch.equal(a, b) for a, b in zip(before["weights"], after["weights"], strict=True)
    )


def eager_maps(case: Case, model: nn.Module, x: dict[str, Any]) -> list[torch.Tensor]:
    """The library's own maps, [batch, head, query, key] per layer, from a twin that attends eagerly."""
    twin = copy.deepcopy(model)
    twin.set_attn_implementation("eager")
    with torch.no_grad():
        return list(twin(**x, output_attentions=True).attentions)


@pytest.mark.parametrize("case", TRANSFORMERS, ids=lambda case: case.name)
def test_statistics_equal_those_of_the_eager_maps(case: Case) -> None:
    model, x = case.build(), case.inputs()
    got = regard.attach(model).measure(x, STATISTICS)
    maps = eager_maps(case, model, x)
    valid = x.get("attention_mask", torch.ones(maps[0].shape[0], maps[0].shape[-1])).bool()
    assert len(got.sites) == len(maps) and {site.tier for site in got.sites} == {"interface"}
    for layer, a in enumerate(maps):
        for head in range(a.shape[1]):
            mass, entropy, distance = [], [], []
            for row in range(a.shape[0]):
                w = a[row, head][valid[row]][:, valid[row]].double()
                n = len(w)
                at = torch.arange(n).double()
                mass.append(w[:, 0].mean())
                entropy.append(-torch.xlogy(w, w).sum(-1).mean())
                distance.append((w * (at[:, None] - at).abs()).sum(-1).mean())
                seen = (w > 0).sum(0) if case in (LLAMA, GPT2) else torch.full((n,), n)
                received = got["received"].examples[row][layer, head][valid[row]]
                torch.testing.assert_close(received.double(), w.sum(0) / seen, atol=1e-5, rtol=1e-5)
                assert got["received"].examples[row][layer, head][~valid[row]].isnan().all()
            for name, values in (("sink_mass", mass), ("entropy", entropy), ("distance", distance)):
                expected = torch.stack(values)
                torch.testing.assert_close(got[name].mean[layer, head], expected.mean(), atol=1e-5, rtol=1e-5)
                torch.testing.assert_close(got[name].std[layer, head], expected.std(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        got["sink_mass"].mean + got["mass[rest]"].mean, torch.ones_like(got["sink_mass"].mean), atol=1e-5, rtol=0
    )
    assert 0 < got.deviation < 1e-5


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_measuring_changes_nothing(case: Case) -> None:
    model, x = case.build(), case.inputs()
    plain, before = outputs(model, x), state(model)
    lens = regard.attach(model)
    assert same(before, state(model))
    lens.measure(x, STATISTICS)
    assert same(before, state(model)) and torch.equal(outputs(model, x), plain)
    with lens.edit(regard.ScaleHeads([(0, 0)], 1.0)):
        assert torch.equal(outputs(model, x), plain)
    assert same(before, state(model))
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), lens.edit(regard.ZeroHeads([(0, 0)])):
            model(**x)
            raise error
        assert same(before, state(model)) and torch.equal(outputs(model, x), plain)


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_a_failing_pass_leaves_the_model_as_it_was(case: Case) -> None:
    model, x = case.build(), case.inputs()
    plain, before = outputs(model, x), state(model)

    class Broken(regard.Entropy):
        def plan(self, call: Any) -> Any:
            yield {}
            raise RuntimeError("broken")

    lens = regard.attach(model)
    with pytest.raises(RuntimeError, match="broken"):
        lens.measure(x, [Broken()])
    assert same(before, state(model)) and torch.equal(outputs(model, x), plain)
    lens.measure(x, [regard.Entropy()])


def sliced(model: nn.Module, projection: Callable[[nn.Module], nn.Module], head: int, heads: int) -> Any:
    """Zero a head's slice of what goes into the output projection."""

    def zero(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        x = args[0].clone()
        width = x.shape[-1] // heads
        x[..., head * width : (head + 1) * width] = 0
        return (x, *args[1:])

    return projection(model).register_forward_pre_hook(zero)


PROJECTIONS: dict[str, Callable[[Any], nn.Module]] = {
    "llama": lambda m: m.model.layers[1].self_attn.o_proj,
    "gpt2": lambda m: m.transformer.h[1].attn.c_proj,
    "bert": lambda m: m.encoder.layer[1].attention.output.dense,
    "vit": lambda m: m.layers[1].attention.o_proj,
    "unet": lambda m: m.up_blocks[0].attentions[0].transformer_blocks[0].attn1.to_out[0],
}


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_a_zeroed_head_is_a_zeroed_slice_before_the_projection(case: Case) -> None:
    model, x = case.build(), case.inputs()
    lens = regard.attach(model)
    sites = lens.measure(x, [regard.Entropy()]).sites
    layer = next(
        place for place, site in enumerate(sites) if PROJECTIONS[case.name](model) in _children(model, site.path)
    )
    heads = sites[layer].heads
    handle = sliced(model, PROJECTIONS[case.name], 1, heads)
    expected = outputs(model, x)
    handle.remove()
    with lens.edit(regard.ZeroHeads([(sites[layer].layer, 1)])):
        got = outputs(model, x)
    assert not torch.equal(got, outputs(model, x))
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)


def _children(model: nn.Module, path: str) -> list[nn.Module]:
    parent = path.rpartition(".")[0] if path.endswith(("self", "attention.attention")) else path
    return list(model.get_submodule(parent).modules())


def test_a_unet_has_self_and_cross_attention() -> None:
    model, x = UNET.build(), UNET.inputs()
    lens = regard.attach(model)
    own, cross = (lens.measure(x, [regard.Entropy(), regard.Mass("all")], role=role) for role in ("self", "cross"))
    assert len(own.sites) == len(cross.sites) > 2 and {site.tier for site in own.sites} == {"sdpa"}
    assert all(site.path.endswith("attn2") and site.layer == place for place, site in enumerate(cross.sites))
    torch.testing.assert_close(cross["mass[all]"].mean, torch.ones_like(cross["mass[all]"].mean))
    assert (cross["entropy"].mean < torch.log(torch.tensor(5.0))).all()
    plain = outputs(model, x)
    with lens.edit(regard.Redistribute("first", "rest", 0.5)):
        assert (outputs(model, x) - plain).abs().max() > 1e-4


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("case", [LLAMA, GPT2, BERT], ids=lambda case: case.name)
def test_padding_does_not_matter(case: Case, left: bool) -> None:
    model, x = case.build(), tokens(left=left)
    lens = regard.attach(model)
    positions = (x["attention_mask"].cumsum(-1) - 1).clamp_min(0)
    together = lens.measure(x | {"position_ids": positions}, STATISTICS)
    alone = [
        {name: value[row : row + 1][:, x["attention_mask"][row].bool()] for name, value in x.items()}
        for row in range(3)
    ]
    apart = lens.measure(alone, STATISTICS)
    for name in ("sink_mass", "entropy", "distance"):
        torch.testing.assert_close(together[name].mean, apart[name].mean, atol=1e-5, rtol=1e-5)
        assert together[name].count == apart[name].count == 3
    for row in range(3):
        kept = together["received"].examples[row][..., x["attention_mask"][row].bool()]
        torch.testing.assert_close(kept, apart["received"].examples[row], atol=1e-5, rtol=1e-5)


EDITS = [
    regard.ZeroHeads([(0, 1), (1, 2)]),
    regard.Redistribute("first", "rest", 0.6),
    regard.Redistribute("first", "rest", 0.9, heads=[(0, 3), (1, 0)]),
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: type(edit).__name__)
@pytest.mark.parametrize("case", [LLAMA, GPT2], ids=lambda case: case.name)
@pytest.mark.parametrize("beams", [1, 3])
def test_generation_with_a_cache_equals_recomputation(case: Case, edit: Any, beams: int) -> None:
    model, x = case.build(), tokens(left=True)
    lens = regard.attach(model)
    options: dict[str, Any] = {
        "max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "num_beams": beams, "pad_token_id": 0,
        "return_dict_in_generate": True, "output_logits": True,
    }  # fmt: skip
    plain = model.generate(**x, **options)
    with lens.edit(edit):
        cached = model.generate(**x, **options)
        whole = model.generate(**x, **options, use_cache=False)
    assert torch.equal(cached.sequences, whole.sequences)
    for a, b, c in zip(cached.logits, whole.logits, plain.logits, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
        assert (a - c).abs().max() > 1e-4
    again = model.generate(**x, **options)
    assert torch.equal(again.sequences, plain.sequences) and torch.equal(again.logits[-1], plain.logits[-1])


def test_phases_are_told_by_the_prompt() -> None:
    model, x = LLAMA.build(), tokens(left=True)
    lens = regard.attach(model)

    def generated(*edits: Any, **options: Any) -> torch.Tensor:
        with lens.edit(*edits):
            out = model.generate(
                **x, max_new_tokens=4, do_sample=False, pad_token_id=0, return_dict_in_generate=True, output_logits=True,
                **options,
            )  # fmt: skip
        return torch.stack(out.logits)

    def zero(phase: Any) -> Any:
        return regard.ScaleHeads([(0, 0), (1, 1)], 0.0, phase=phase)

    plain, prefill, decode, both = (
        generated(),
        generated(zero("prefill")),
        generated(zero("decode")),
        generated(zero("both")),
    )
    assert torch.equal(plain[0], decode[0]) and torch.equal(prefill[0], both[0])
    assert not torch.equal(plain[0], prefill[0]) and not torch.equal(plain[1], decode[1])
    assert torch.equal(generated(zero("prefill"), zero("decode")), both)
    for phase, expected in (("prefill", prefill), ("decode", decode)):
        chunked = generated(zero(phase), prefill_chunk_size=3)
        torch.testing.assert_close(chunked, expected, atol=1e-5, rtol=1e-5)


def test_weights_are_the_eager_rows() -> None:
    model, x = LLAMA.build(), tokens(left=True)
    lens = regard.attach(model)
    maps = eager_maps(LLAMA, model, x)
    got = lens.weights(x, layer=1, heads=[3, 0], queries=[-1, 8])
    torch.testing.assert_close(got, maps[1][:, [3, 0]][:, :, [-1, 8]], atol=1e-6, rtol=1e-5)
    everything = lens.weights(x, layer=2)
    valid = x["attention_mask"].bool()
    for row in range(3):
        torch.testing.assert_close(everything[row][:, valid[row]], maps[2][row][:, valid[row]], atol=1e-6, rtol=1e-5)
    with lens.edit(regard.Redistribute("first", "rest", 1.0)):
        assert (lens.weights(x, layer=1, queries=[-1])[0, :, 0, 0] == 0).all()
    with pytest.raises(IndexError, match=r"no layer 7; there are \[0, 1, 2\]"):
        lens.weights(x, layer=7)
    with pytest.raises(IndexError, match="no head 4"):
        lens.weights(x, layer=0, heads=[4])


def test_statistics_are_of_the_edited_attention() -> None:
    model, x = LLAMA.build(), tokens(left=True)
    lens = regard.attach(model)
    with lens.edit(regard.Redistribute("first", "rest", 1.0, heads=[(1, 2)])):
        mass = lens.measure(x, [regard.SinkMass()])["sink_mass"].mean
    plain = lens.measure(x, [regard.SinkMass()])["sink_mass"].mean
    # Its own row is all that the first token's query can give to, so one query of each text keeps its mass.
    assert mass[1, 2] == pytest.approx((1 / 11 + 1 / 9 + 1 / 7) / 3, abs=1e-6)
    assert torch.equal(mass[0], plain[0]) and torch.equal(mass[1, [0, 1, 3]], plain[1, [0, 1, 3]])


def test_an_edit_that_meets_nothing_is_an_error() -> None:
    model, x = LLAMA.build(), tokens()
    lens = regard.attach(model)
    with pytest.raises(ValueError, match="changed nothing"), lens.edit(regard.ZeroHeads([(9, 0)])):
        model(**x)
    with pytest.raises(IndexError, match="names head 4"), lens.edit(regard.ZeroHeads([(0, 4)])):
        model(**x)
    with pytest.raises(KeyError, match="no segment 'image'"), lens.edit(regard.Redistribute("image", "rest")):
        model(**x)


def test_a_model_without_attention_says_so() -> None:
    class Mixer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x)

    with pytest.raises(ValueError, match="Mixer made no call of attention"):
        regard.attach(Mixer()).measure({"x": torch.ones(1, 4)}, [regard.Entropy()])
    with pytest.raises(TypeError, match="not to a str"):
        regard.attach("gpt2")  # type: ignore[arg-type]


def test_a_model_of_ones_own_is_reached() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(16, 48)
            self.out = nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = self.qkv(x).view(*x.shape[:2], 3, 4, 4).permute(2, 0, 3, 1, 4)
            a = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out(a.transpose(1, 2).flatten(2))

    model, x = nn.Sequential(Own(), Own()), torch.randn(2, 9, 16)
    lens = regard.attach(model)
    got = lens.measure({"input": x}, [regard.Entropy(), regard.SinkMass()])
    assert [site.path for site in got.sites] == ["0", "1"] and [site.layer for site in got.sites] == [0, 1]
    q, k, _ = model[0].qkv(x).view(2, 9, 3, 4, 4).permute(2, 0, 3, 1, 4)
    scores = (q @ k.mT / 2).masked_fill(torch.ones(9, 9).triu(1).bool(), float("-inf"))
    expected = scores.softmax(-1)[..., 0].mean((0, 2))
    torch.testing.assert_close(got["sink_mass"].mean[0].float(), expected, atol=1e-6, rtol=1e-5)
