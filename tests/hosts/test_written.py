"""Attention that is written out: what is heard, what is left alone, and what such a site cannot do."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard
from regard.edit import MeanHeads

from .state import outputs, same, state
from .zoo import BLOOM, FALCON, GPTJ, noise


class Written(nn.Module):
    """Attention as people write it: `how` says by which call, `flat` whether heads are in the batch, `last` which axis."""

    def __init__(self, how: str, flat: bool = False, last: int = -1) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)
        self.num_heads, self.how, self.flat, self.last = 2, how, flat, last
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        if self.flat:
            q, k, v = (t.flatten(0, 1) for t in (q, k, v))
        s = q @ k.mT / 2 + torch.full((x.shape[1], x.shape[1]), float("-inf")).triu(1)
        axis = self.last if self.last < 0 else s.ndim - 1
        a = {
            "torch": lambda: torch.softmax(s, axis),
            "function": lambda: nn.functional.softmax(s, dim=axis),
            "method": lambda: s.softmax(axis),
            "module": lambda: self.softmax(s),
            "keyword": lambda: torch.softmax(input=s, dim=axis, dtype=torch.float64).float(),
        }[self.how]()
        out = (a @ v).unflatten(0, (-1, 2)) if self.flat else a @ v
        return self.out(out.transpose(1, 2).flatten(2))


class Gate(nn.Module):
    """A softmax that is no attention."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.softmax(x, -1)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("how", ["torch", "function", "method", "module", "keyword"])
def test_every_way_to_call_softmax(how: str, flat: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Written(how, flat), Gate(), Written(how, flat, 1)).eval()
    x = {"input": noise(3, 7, 8) * 3}
    plain, before = outputs(model, {"input": x["input"]}), state(model)
    lens = regard.attach(model)
    got = lens.measure(x, [regard.SinkMass(), regard.Entropy()])
    assert [(site.path, site.tier, site.heads) for site in got.sites] == [("0", "softmax", 2), ("2", "softmax", 2)]
    q, k, _ = model[0].qkv(x["input"]).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
    a = (q @ k.mT / 2 + torch.full((7, 7), float("-inf")).triu(1)).softmax(-1)
    torch.testing.assert_close(got["sink_mass"].mean[0].float(), a[..., 0].mean((0, 2)), atol=1e-6, rtol=1e-5)
    entropy = torch.special.entr(a).sum(-1).mean((0, 2))
    torch.testing.assert_close(got["entropy"].mean[0].float(), entropy, atol=1e-6, rtol=1e-5)
    with lens.edit(regard.Redistribute("first", "rest", 1.0, heads=[(2, 0)])):
        edited = outputs(model, x)
        rows = lens.weights(x, layer=2)
    assert (rows[:, 0, 1:, 0] == 0).all() and (rows[:, 1, 1:, 0] > 0).all()
    assert (rows.sum(-1) - 1).abs().max() < 1e-6 and (edited - plain).abs().max() > 1e-4
    assert same(before, state(model)) and torch.equal(outputs(model, x), plain)


def test_an_edited_map_is_what_the_model_uses() -> None:
    torch.manual_seed(0)
    model, x = Written("torch").eval(), noise(2, 7, 8)
    lens = regard.attach(model)
    with lens.edit(regard.Redistribute("first", "rest", 0.7)):
        rows, got = lens.weights({"x": x}, layer=0), outputs(model, {"x": x})
    v = model.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)[2]
    expected = model.out((rows @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(got, expected[0], atol=1e-6, rtol=1e-5)


def test_such_a_site_says_what_it_cannot_do() -> None:
    model, x = BLOOM.build(), BLOOM.inputs()
    lens = regard.attach(model)
    assert lens.measure(x, [regard.Entropy()]).sites[0].gives == {"scores", "weights", "lse"}
    before = state(model)
    said = r"Out changes head outputs, and transformer\.h\.0.* gives only lse, scores, weights"
    with pytest.raises(ValueError, match=said), lens.edit(MeanHeads([(0, 1)], torch.zeros(1, 8))):
        outputs(model, x)
    assert same(before, state(model))


def test_one_call_is_heard_once() -> None:
    """Falcon has both ways in one module and takes one of them; the other tier is not heard beside it."""
    model, x = FALCON.build(), FALCON.inputs()
    lens = regard.attach(model)
    fused = lens.measure(x, [regard.Entropy()])
    model.config._attn_implementation = "eager"
    written = regard.attach(model).measure(x, [regard.Entropy()])
    assert {site.tier for site in fused.sites} == {"sdpa"} and {site.tier for site in written.sites} == {"softmax"}
    assert len(fused.sites) == len(written.sites) == 2
    torch.testing.assert_close(fused["entropy"].mean, written["entropy"].mean, atol=1e-5, rtol=1e-5)


def test_half_precision_scores_keep_their_type() -> None:
    model, x = GPTJ.build().bfloat16(), GPTJ.inputs()
    lens = regard.attach(model)
    plain = outputs(model, x)
    with lens.edit(regard.ZeroHeads([(0, 1)])):
        got: Any = outputs(model, x)
    assert got.dtype == torch.bfloat16 and (got - plain).abs().max() > 0


class GatedAttention(nn.Module):
    """Attention through torch's function, beside a softmax of its own over something of the same shape."""

    def forward(self, x: Tensor) -> Tensor:
        heads = x.unflatten(-1, (2, 4)).transpose(1, 2)
        out = nn.functional.scaled_dot_product_attention(heads, heads, heads)
        return (out * torch.softmax(heads, -1)).transpose(1, 2).flatten(2)


class RoutedAttention(nn.Module):
    """Attention through transformers' interface, which chooses by a softmax of its own."""

    def forward(self, x: Tensor) -> Tensor:
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        return x * torch.softmax(x, -1) + len(ALL_ATTENTION_FUNCTIONS) * 0


def test_a_softmax_beside_another_tier_is_no_attention() -> None:
    sites = regard.attach(GatedAttention()).measure({"x": noise(2, 5, 8)}, [regard.Entropy()]).sites
    assert [(site.tier, site.heads) for site in sites] == [("sdpa", 2)]
    with pytest.raises(ValueError, match="RoutedAttention"):
        regard.attach(RoutedAttention(), check=False).measure({"x": noise(2, 5, 8)}, [regard.Entropy()])
