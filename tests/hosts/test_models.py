"""What a lens does on real model classes, beyond what holds for every family: padding, phases, rows, edits, failures."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

import regard
from regard.core.protocols import Statistic

from .state import outputs, same, state
from .zoo import BERT, BLOOM, GPT2, LLAMA, T5, TORCH, UNET, Case, tokens

STATISTICS: list[Statistic] = [
    regard.SinkMass(),
    regard.Mass("rest"),
    regard.Entropy(),
    regard.Distance(),
    regard.Received(),
    regard.SinkRate(0.3),
]


def eager_maps(case: Case, model: nn.Module, x: dict[str, Any]) -> list[torch.Tensor]:
    """The library's own maps, [batch, head, query, key] per layer, from a twin that attends eagerly."""
    twin = copy.deepcopy(model)
    twin.set_attn_implementation("eager")
    with torch.no_grad():
        return list(twin(**x, output_attentions=True).attentions)


@pytest.mark.parametrize("case", [LLAMA, T5, UNET, BLOOM, TORCH], ids=lambda case: case.name)
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


def test_a_cache_may_drop_its_first_keys() -> None:
    class Cache:
        def __init__(self) -> None:
            self.kept, self.seen = torch.empty(1, 0, 8), 0

        def get_seq_length(self) -> int:
            return self.seen

    class Recent(nn.Module):
        """Attends to the last four tokens."""

        def forward(self, inputs_embeds: torch.Tensor, past_key_values: Cache) -> torch.Tensor:
            cache = past_key_values
            cache.kept = torch.cat([cache.kept, inputs_embeds], 1)[:, -4:]
            cache.seen += inputs_embeds.shape[1]
            q, k = (x.unflatten(-1, (2, 4)).transpose(1, 2) for x in (inputs_embeds, cache.kept))
            return nn.functional.scaled_dot_product_attention(q, k, k)

    model, cache = Recent(), Cache()
    lens = regard.attach(model, check=False)
    x = torch.randn(1, 6, 8)
    distances = [
        lens.measure({"inputs_embeds": x[:, i : i + 1], "past_key_values": cache}, [regard.SignedDistance()])
        for i in range(6)
    ]
    k = x[:, 2:].unflatten(-1, (2, 4)).transpose(1, 2)
    weights = (k[:, :, -1:] @ k.mT / 2).softmax(-1)[0, :, 0]
    expected = weights @ torch.tensor([3.0, 2, 1, 0])
    got = distances[-1]["signed_distance"].mean[0].float()
    torch.testing.assert_close(got.abs(), expected, atol=1e-5, rtol=1e-5)
