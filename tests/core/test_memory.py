"""Peak memory grows linearly with length, on every path, forward and backward: read from the storages that are alive."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from unittest.mock import patch

import edits
import pytest
import torch
from torch import Tensor

from regard.bench.memory import peak_bytes
from regard.core import blockwise, dense
from regard.core.attend import attend
from regard.core.attention import Attention
from regard.core.effects import Bias, Blend, Block, Effect, ExtraKV, KeyScale, Mix, Out, Replace, Rewrite, SetScores
from regard.core.mask import Mask
from regard.core.operands import Operands
from regard.core.patchwork import Patchwork
from regard.core.terms import Attend, Col, Far, Lse, Part, Row, Rows, Score, Term
from regard.kernels import rows_cpu

SHORT, LONG = 512, 2048
"""Four times as long: linear memory grows by 4 at most (blocks have a fixed size), a map by 16."""


@pytest.fixture(params=["rowwise", "fused", "blockwise"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How attention is computed; only "rowwise" has our own kernel."""
    if request.param != "rowwise":
        monkeypatch.setattr(rows_cpu, "supports", lambda q: False)
    return str(request.param)


def made(way: str, n: int, grad: bool = False) -> Operands:
    """Return a causal attention, or one with a sliding window, which no fused kernel takes."""
    mask = Mask(
        1, n, n, torch.device("cpu"), causal=way != "blockwise", function=_window if way == "blockwise" else None
    )
    return Operands(*(torch.randn(1, 2, n, 16, requires_grad=grad) for _ in range(3)), mask, 0.25)


def _window(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return (key <= query) & (key > query - 100)


def growth(run: Callable[[int], Callable[[], object]]) -> float:
    """Return by how much peak memory grows from SHORT to LONG."""
    with patch.object(blockwise, "BLOCK_ELEMENTS", 1 << 16):
        return peak_bytes(run(LONG)) / peak_bytes(run(SHORT))


def test_a_map_is_seen() -> None:
    """The measure itself: the dense oracle holds maps, and fails what all others pass."""
    assert growth(lambda n: partial(dense.maps, made("fused", n))) > 10


def linear(run: Callable[[int], Callable[[], object]]) -> None:
    assert growth(run) < 6


def terms(n: int) -> dict[str, Term]:
    half = (torch.arange(n) > n // 2).long()[None]
    return {
        "lse": Lse(),
        "score": Score(),
        "row": Row(torch.randn(n, 3)),
        "far": Far(torch.arange(n)[None], torch.arange(n)[None]),
        "col": Col(),
        "part": Part(half, 2),
        "rows": Rows(lambda weights, block: weights.amax(-1)),
        "attend": Attend(torch.randn(1, 2, n, 16), torch.randn(1, 2, n, 16)),
    }


@pytest.mark.parametrize("term", terms(2))
def test_terms(way: str, term: str) -> None:
    def run(n: int) -> Callable[[], object]:
        op, asked = made(way, n), terms(n)[term]
        return lambda: Attention(op, lambda: op.q).answer([asked])

    linear(run)


@pytest.mark.parametrize("term", terms(2))
def test_terms_and_their_gradients(term: str) -> None:
    def run(n: int) -> Callable[[], object]:
        op, asked = made("fused", n, grad=True), terms(n)[term]

        def both() -> None:
            (answer,) = Attention(op, lambda: op.q).answer([asked])
            total = answer.sum() if isinstance(answer, Tensor) else sum(part.sum() for part in answer)
            total.backward()

        return both

    linear(run)


def test_attend_and_its_backward(way: str) -> None:
    linear(lambda n: partial(attend, made(way, n)))

    def run(n: int) -> Callable[[], object]:
        op = made(way, n, grad=True)
        op = replace(op, bias=torch.randn(1, 2, 1, n, requires_grad=True), sink=torch.randn(2, requires_grad=True))
        return lambda: sum(t.square().sum() for t in attend(op)).backward()

    linear(run)


def effects(n: int) -> dict[str, Effect]:
    part, half = Part((torch.arange(n) % 3)[None], 3), torch.arange(n)[None, None] > n // 2
    return {
        "queries": Replace(q=torch.randn(1, 2, n, 16)),
        "extra": ExtraKV(torch.randn(1, 2, 4, 16), torch.randn(1, 2, 4, 16)),
        "bias": Bias(torch.randn(1, 2, 1, n)),
        "rectangle": Bias(torch.randn(1, 1, 1, n), half.float()),
        "block": Block(half, half),
        "law": SetScores(edits.sharpened),
        "mix": Mix(part, torch.rand(1, 2, n, 3)),
        "renormalised": Mix(part, torch.rand(1, 2, n, 3), "one"),
        "key scale": KeyScale(torch.rand(1, 2, n), "mass"),
        "identity": Blend(0.5, at=torch.arange(n)[None]),
        "uniform": Blend(0.5, "uniform"),
        "rewrite": Rewrite(edits.rolled),
        "scale": Out(0.5),
    }


@pytest.mark.parametrize("effect", effects(3))
def test_effects_and_what_is_asked_afterwards(way: str, effect: str) -> None:
    """On some heads and rows, by way of a patchwork."""

    def run(n: int) -> Callable[[], object]:
        op, one = made(way, n), effects(n)[effect].select(torch.tensor([1]), slice(n // 2, n), 2)
        host = torch.zeros_like(op.q)

        def both() -> None:
            patchwork = Patchwork.of(op, lambda: host).apply(one, torch.tensor([1]), (n // 2, n))
            patchwork.output(lambda: host)
            patchwork.answer([Score(), Col()])

        return both

    linear(run)
