"""Sinks of the residual stream: planted ones are found with their kind and level, whatever is planted, and no others."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from regard.lens.sink_levels import (
    SinkRule,
    SinkToken,
    Window,
    Wong2025,
    find_levels,
    find_primary,
    find_sinks,
    find_window,
)

DEPTH, WIDTH, TOKENS = 24, 64, 30
WINDOW = Window(3, 22)


def planted(
    sinks: dict[int, tuple[list[int], float]], primary: int = 0, window: Window = WINDOW, depth: int = DEPTH
) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines and norms [layer, token] of a stream with planted sinks, and its norms from the embedding on."""
    torch.manual_seed(0)
    h = torch.randn(depth + 1, TOKENS, WIDTH)  # the first is before the first block
    u = torch.randn(WIDTH)
    u /= u.norm()
    h -= (h @ u)[..., None] * u  # others have a cosine of 0 with the primary sink
    h[window.start + 1 : window.end + 1, primary] = 900.0 * u
    for token, (layers, cosine) in sinks.items():
        for layer in layers:
            side = h[layer + 1, token] / h[layer + 1, token].norm()
            h[layer + 1, token] = 300.0 * (cosine * u + (1 - cosine**2) ** 0.5 * side)
    norms = h.norm(dim=-1)
    cosines = torch.nn.functional.cosine_similarity(h[1:], h[1:, primary, None], dim=-1)
    return cosines, norms[1:], norms


def kinds(sinks: list[SinkToken]) -> dict[int, tuple[str, int, int]]:
    return {sink.token: (sink.kind, sink.start, sink.lifetime) for sink in sinks}


def test_window_and_sinks_are_those_that_were_planted() -> None:
    gap = [8, 9, 10, 13, 14]
    cosines, norms, whole = planted(
        {
            5: (list(range(3, 22)), 0.95),  # the first delimiter of Llama-2: it begins with BOS
            9: (gap, 0.95),
            12: (list(range(10, 20)), 0.85),  # not near enough
            17: ([12, 13], 0.95),
            21: (list(range(9, 20)), -0.95),
        },
        primary=1,
    )
    assert find_primary(norms, 2) == 1
    window = find_window(whole[:, 1], torch.cat([whole[:, :1], whole[:, 2:]], 1).median(1).values)
    assert window == WINDOW
    found = find_sinks(cosines, norms, 1, WINDOW)
    assert kinds(found) == {5: ("primary", 3, 19), 9: ("secondary", 8, 5), 17: ("brief", 12, 2)}
    assert found[1].layers == tuple(gap) and found[1].norm == pytest.approx(1 / 3, abs=1e-3)
    either = find_sinks(cosines, norms, 1, WINDOW, SinkRule(absolute=True))
    assert kinds(either) == kinds(found) | {21: ("secondary", 9, 11)}


@given(st.integers(0, 2), st.integers(1, 9), st.integers(9, 24), st.integers(4, 20), st.data())
def test_any_sink_is_found_with_its_level(primary: int, start: int, end: int, token: int, data: st.DataObject) -> None:
    window = Window(start, max(end, start + 4))
    window = replace(window, end=min(window.end, DEPTH - 1))
    layers = sorted(
        data.draw(st.sets(st.integers(window.start, window.end - 1), min_size=1, max_size=window.end - window.start))
    )
    cosines, norms, whole = planted({token: (layers, 0.95)}, primary, window)
    others = torch.cat([whole[:, :primary], whole[:, primary + 1 :]], 1)
    assert find_window(whole[:, primary], others.median(1).values) == window
    (found,) = find_sinks(cosines, norms, primary, window)
    assert (found.token, found.layers) == (token, tuple(layers))
    early, length = layers[0] <= window.start + 1, window.end - window.start
    if found.kind == "primary":
        assert early and len(layers) >= 0.6 * length
    elif found.kind == "secondary":
        assert not early and len(layers) >= 3


def test_a_norm_that_hardly_rises_is_no_sink_and_one_that_stays_has_no_end() -> None:
    typical = torch.full((7,), 10.0)
    assert find_window(torch.tensor([10.0, 12.0, 39.0, 40.0, 40.0, 40.0, 12.0]), typical) is None
    assert find_window(torch.tensor([10.0, 12.0, 43.0, 43.0, 43.0, 43.0, 12.0]), typical) == Window(1, 5)
    assert find_window(torch.tensor([10.0, 12.0, 43.0, 43.0, 40.0, 43.0, 43.0]), typical) == Window(1, 6)


def test_the_rule_of_the_paper_counts_layers_alone() -> None:
    layers = {20: 24, 30: 6, 40: 4}  # how many layers each token is a sink, of 48
    for token, count in layers.items():
        kind = Wong2025().kind(range(48 - count, 48), Window(4, 47), 48)
        assert kind == {20: "secondary", 30: "secondary", 40: "brief"}[token]
    assert Wong2025().kind(range(4, 37), Window(4, 47), 48) == "primary" and Wong2025().absolute
    assert SinkRule().kind(range(4, 37), Window(4, 47), 48) == "primary"
    assert SinkRule().kind(range(22, 26), Window(4, 47), 48) == "brief"  # 10 % of 48 are 5 layers
    with pytest.raises(ValueError, match="between 0 and 1"):
        SinkRule(cosine=1.5)


def test_levels_are_groups_of_start_and_lifetime() -> None:
    def of(start: int, lifetime: int, kind: str = "secondary") -> SinkToken:
        return SinkToken(9, kind, tuple(range(start, start + lifetime)), 0.3)  # type: ignore[arg-type]

    sinks = [of(22, life) for life in (22, 23, 24) for _ in range(4)] + [of(22, 10)] * 3 + [of(30, 5)] * 11
    sinks += [of(40, 3, "brief")] * 50 + [of(4, 40, "primary")] * 50
    found = find_levels(sinks, 48)
    assert [(one.start, one.lifetimes, one.tokens) for one in found] == [(22, (22, 24), 12), (30, (5, 5), 11)]
    assert found[0].fraction == pytest.approx(22 / 48)
    assert len(find_levels(sinks, 48, fewest=1)) == 3 and len(find_levels(sinks, 48, fewest=1, share=0.2)) == 2


def test_what_is_massive_behind_the_last_layer_alone_is_seen_by_no_attention() -> None:
    norms, typical = torch.ones(6), torch.ones(6)
    norms[5] = 900.0
    assert find_window(norms, typical) is None
    norms[4] = 900.0
    assert find_window(norms, typical) == Window(3, 5)
    assert find_window(torch.tensor([1.0, 900.0]), torch.ones(2)) is None
