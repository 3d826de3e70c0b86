"""torch.nn.MultiheadAttention in all its ways: each is the module's own attention, bit by bit where nothing is edited."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard

from .state import outputs, same, state
from .zoo import noise

B, T, S, C, H = 3, 6, 9, 16, 4


class Attends(nn.Module):
    """One module with fixed arguments."""

    def __init__(self, given: dict[str, Any], **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(C, H, **options)
        self.given = given

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        return self.attention(query, key, value, **self.given)


def causal() -> Tensor:
    return torch.ones(T, T, dtype=torch.bool).triu(1)


def padded(keys: int) -> Tensor:
    mask = torch.zeros(B, keys, dtype=torch.bool)
    mask[1, -2:] = True
    return mask


def alike(batch_first: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    x = noise(B, T, C) * 2 if batch_first else noise(T, B, C) * 2
    return x, x, x


def crossed() -> tuple[Tensor, Tensor, Tensor]:
    return noise(B, T, C) * 2, noise(B, S, C, seed=5) * 2, noise(B, S, C, seed=6)


FIRST: dict[str, Any] = {"batch_first": True}
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[Tensor, Tensor, Tensor]]] = {
    "plain": ({}, FIRST, alike()),
    "no weights": ({"need_weights": False}, FIRST, alike()),
    "sequence first": ({"attn_mask": causal()}, {}, alike(False)),
    "unbatched": ({"attn_mask": causal()}, FIRST, tuple(x[0] for x in alike())),  # type: ignore[dict-item]
    "hint": ({"attn_mask": causal(), "is_causal": True, "need_weights": False}, FIRST, alike()),
    "padding": ({"key_padding_mask": padded(T)}, FIRST, alike()),
    "padding and mask": ({"key_padding_mask": padded(T), "attn_mask": causal()}, FIRST, alike()),
    "added": ({"attn_mask": noise(T, T)}, FIRST, alike()),
    "added by head": ({"attn_mask": noise(B * H, T, T)}, FIRST, alike()),
    "added to keys": ({"key_padding_mask": noise(B, T)}, FIRST, alike()),
    "cross": ({"key_padding_mask": padded(S)}, FIRST, crossed()),
    "own sizes": ({}, {**FIRST, "kdim": C, "vdim": 10}, (*crossed()[:2], noise(B, S, 10))),
    "no bias": ({}, {**FIRST, "bias": False}, alike()),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_is_the_modules_own(way: str) -> None:
    given, options, x = WAYS[way]
    torch.manual_seed(0)
    model = Attends(given, **options).eval()
    inputs = dict(zip(("query", "key", "value"), x, strict=True))
    before = state(model)
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        plain = outputs(model, inputs)
        with torch.no_grad():
            maps = model.attention(*x, **{**given, "need_weights": True, "average_attn_weights": False})[1]
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
    lens = regard.attach(model)
    role = "cross" if way in ("cross", "own sizes") else "self"
    rows = lens.weights(inputs, layer=0, role=role)
    maps = maps if maps.ndim == 4 else maps[None]
    real = torch.ones(rows.shape[0], rows.shape[2], dtype=torch.bool)
    if role == "self" and given.get("key_padding_mask") is not None and given["key_padding_mask"].dtype == torch.bool:
        real = ~given["key_padding_mask"]
    torch.testing.assert_close(rows.transpose(1, 2)[real], maps.transpose(1, 2)[real], atol=1e-6, rtol=1e-5)
    with lens.edit(regard.ScaleHeads([(0, 0)], 1.0, role=role)):
        torch.testing.assert_close(outputs(model, inputs), plain, atol=1e-6, rtol=1e-5)
    (got,) = lens.measure(inputs, [regard.Entropy()], role=role).sites
    assert (got.path, got.tier, got.heads, got.role) == ("attention", "mha", H, role)
    heard = []
    hook = model.attention.register_forward_hook(lambda module, args, out: heard.append(out[0]))
    lens.measure(inputs, [regard.Entropy()], role=role)
    hook.remove()
    assert torch.equal(heard[0], plain)
    with lens.edit(regard.ZeroHeads([(0, 1)], role=role)):
        zeroed = outputs(model, inputs)
    model.attention.out_proj.weight.data[:, C // H : 2 * C // H] = 0
    torch.testing.assert_close(zeroed, outputs(model, inputs), atol=1e-6, rtol=1e-5)
    before.pop("weights")
    after = state(model)
    after.pop("weights")
    assert before == after


def test_a_decoder_has_self_and_cross_attention() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerDecoderLayer(C, H, 24, batch_first=True, dropout=0.0)
    model = nn.TransformerDecoder(layer, 2).eval()
    x = {"tgt": noise(B, T, C), "memory": noise(B, S, C, seed=5)}
    lens = regard.attach(model)
    for role, name in (("self", "self_attn"), ("cross", "multihead_attn")):
        sites = lens.measure(x, [regard.Entropy()], role=role).sites  # type: ignore[arg-type]
        assert [(site.path, site.layer) for site in sites] == [(f"layers.{i}.{name}", i) for i in range(2)]


def test_the_fast_path_comes_back_and_is_told() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(C, H, 24, batch_first=True)
    model = nn.TransformerEncoder(layer, 2).eval()
    x = {"src": noise(B, T, C), "src_key_padding_mask": padded(T)}
    lens, plain, before = regard.attach(model), outputs(model, {"src": x["src"]}), state(model)
    assert not lens._tap.notes or torch.backends.mha.get_fastpath_enabled()
    lens.measure(x, [regard.Entropy()])
    assert any("fast path" in note for note in lens._tap.notes)
    assert same(before, state(model)) and torch.equal(outputs(model, {"src": x["src"]}), plain)
