"""torch's fused function with everything that it takes: the weights are those of its definition."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard

from .state import outputs
from .zoo import noise

B, H, Q, K, D = 2, 4, 5, 7, 6


class Call(nn.Module):
    """One call with fixed arguments; `num_heads` is what tells heads from the batch in three axes."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__()
        self.num_heads, self.given = H, given

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(q, k, v, **self.given)


def padded() -> Tensor:
    mask = torch.ones(B, 1, 1, K, dtype=torch.bool)
    mask[1, ..., -2:] = False
    return mask


def float_of(mask: Tensor) -> Tensor:
    return torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)


FULL = noise(B, H, Q, K) > -0.5
FULL[..., 0] = True
WAYS: dict[str, tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]] = {
    "plain": ({}, (B, H, Q, D), (B, H, K, D)),
    "causal": ({"is_causal": True}, (B, H, Q, D), (B, H, K, D)),
    "scale": ({"scale": 0.3}, (B, H, Q, D), (B, H, K, D)),
    "grouped": ({"enable_gqa": True}, (B, H, Q, D), (B, H // 2, K, D)),
    "padding": ({"attn_mask": padded()}, (B, H, Q, D), (B, H, K, D)),
    "padding as numbers": ({"attn_mask": float_of(padded())}, (B, H, Q, D), (B, H, K, D)),
    "padding, expanded": ({"attn_mask": padded().expand(-1, -1, Q, -1)}, (B, H, Q, D), (B, H, K, D)),
    "table": ({"attn_mask": FULL[0, 0]}, (B, H, Q, D), (B, H, K, D)),
    "table by head": ({"attn_mask": FULL}, (B, H, Q, D), (B, H, K, D)),
    "added by head": ({"attn_mask": noise(B, H, Q, K)}, (B, H, Q, D), (B, H, K, D)),
    "three axes": ({}, (B * H, Q, D), (B * H, K, D)),
    "three axes, table": ({"attn_mask": FULL.flatten(0, 1)}, (B * H, Q, D), (B * H, K, D)),
    "five axes": ({"attn_mask": FULL[:1, :1]}, (B, 3, H, Q, D), (B, 3, H, K, D)),
}


def by_definition(given: dict[str, Any], q: Tensor, k: Tensor) -> Tensor:
    """softmax(scale * q k^T + mask), in the shape of the call."""
    k = k.repeat_interleave(q.shape[-3] // k.shape[-3], -3)
    scores = q @ k.mT * given.get("scale", D**-0.5)
    mask = torch.ones(Q, K).tril().bool() if given.get("is_causal") else given.get("attn_mask")
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1)


@pytest.mark.parametrize("way", WAYS)
def test_weights_are_those_of_the_definition(way: str) -> None:
    given, queries, keys = WAYS[way]
    model = Call(given)
    x = {"q": noise(*queries) * 2, "k": noise(*keys, seed=3) * 2, "v": noise(*keys[:-1], 3, seed=4)}
    lens = regard.attach(model, check=False)
    got = lens.weights(x, layer=0, role="cross")
    expected = by_definition(given, x["q"], x["k"])
    assert got.shape == (expected.numel() // (H * Q * K), H, Q, K)
    torch.testing.assert_close(got, expected.reshape(got.shape), atol=1e-6, rtol=1e-5)
    plain = outputs(model, x)
    with lens.edit(regard.Redistribute("first", "rest", 0.5, role="cross")):
        edited, rows = outputs(model, x), lens.weights(x, layer=0, role="cross")
    assert edited.shape == plain.shape
    v = x["v"].repeat_interleave(queries[-3] // keys[-3], -3)
    torch.testing.assert_close(edited, (rows.reshape(expected.shape) @ v)[0], atol=1e-5, rtol=1e-5)
