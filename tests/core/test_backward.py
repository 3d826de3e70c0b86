"""The backward pass of `attend`: against numerical gradients, and against autograd through the dense oracle."""

from dataclasses import replace
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from regard.core import blockwise, dense
from regard.core.attend import attend
from regard.core.mask import Mask
from regard.core.operands import Extra, Operands

KINDS = ["plain", "softcap", "sink per head", "sink per row", "key bias", "full bias", "table", "extra", "everything"]


def made(kind: str, q_len: int = 5, k_len: int = 6) -> tuple[Operands, list[str]]:
    """Return an attention with grouped heads, values of another width and two dead rows, and its leaves' names."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64)

    mask = Mask(2, q_len, k_len, torch.device("cpu"), causal=True, offset=-1, keys=torch.tensor([[True] * k_len] * 2))
    assert mask.keys is not None
    mask.keys[1, :2] = False
    op = Operands(normal(2, 4, q_len, 3), normal(2, 2, k_len, 3), normal(2, 2, k_len, 2), mask, 0.7)
    everything = kind == "everything"
    if kind == "softcap" or everything:
        op = replace(op, softcap=1.5)
    if kind == "sink per head":
        op = replace(op, sink=normal(4))
    if kind == "sink per row" or everything:
        op = replace(op, sink=normal(2, 4, q_len))
    if kind == "key bias":
        op = replace(op, bias=normal(1, 4, 1, k_len))
    if kind == "full bias" or everything:
        op = replace(op, bias=normal(2, 1, q_len, k_len))
    if kind == "table" or everything:
        op = replace(op, mask=replace(mask, table=normal(1, 4, q_len, k_len)))
    if kind == "extra" or everything:
        seen = torch.rand(2, 1, q_len) > 0.3
        extra = (Extra(normal(1, 2, 2, 3), normal(1, 2, 2, 2)), Extra(normal(2, 4, 1, 3), normal(2, 4, 1, 2), seen))
        op = replace(op, extra=extra)
    return op, [name for name in ("q", "k", "v", "sink", "bias") if getattr(op, name) is not None]


def tensors(op: Operands) -> list[Tensor]:
    there = [op.q, op.k, op.v, op.sink, op.bias, op.mask.table]
    return [t for t in there if t is not None] + [t for e in op.extra for t in (e.k, e.v)]


def rebuilt(op: Operands, given: list[Tensor]) -> Operands:
    stream = iter(given)
    for name in ("q", "k", "v", "sink", "bias"):
        if getattr(op, name) is not None:
            op = replace(op, **{name: next(stream)})
    if op.mask.table is not None:
        op = replace(op, mask=replace(op.mask, table=next(stream)))
    return replace(op, extra=tuple(Extra(next(stream), next(stream), e.rows) for e in op.extra))


@pytest.mark.parametrize("kind", KINDS)
def test_numerical_gradients(kind: str) -> None:
    """Through the output and through the log-sum-exp, in blocks of one row, of everything that goes in."""
    op, _ = made(kind)

    def both(*given: Tensor) -> tuple[Tensor, Tensor]:
        out, lse = attend(rebuilt(op, list(given)))
        return out, lse.masked_fill(lse.isneginf(), 0.0)

    with patch.object(blockwise, "BLOCK_ELEMENTS", 1):
        assert torch.autograd.gradcheck(both, [t.requires_grad_() for t in tensors(op)])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("q_len", "k_len"), [(1, 63), (63, 63), (65, 130)])
def test_equals_the_gradient_of_the_oracle(kind: str, q_len: int, k_len: int) -> None:
    op, _ = made(kind, q_len, k_len)
    results = []
    for way in (attend, _dense):
        given = [t.clone().requires_grad_() for t in tensors(op)]
        out, lse = way(rebuilt(op, given))
        torch.manual_seed(1)
        loss = (out * torch.randn_like(out)).sum() + (lse.masked_fill(lse.isneginf(), 0) * torch.randn_like(lse)).sum()
        results.append(torch.autograd.grad(loss, given, allow_unused=True, materialize_grads=True))
    for mine, truth in zip(*results, strict=True):
        assert truth.isfinite().all()
        torch.testing.assert_close(mine, truth, rtol=1e-9, atol=1e-10)


def test_half_precision_gradients_are_within_its_rounding() -> None:
    """Of bfloat16 operands, against float64 from the same numbers: 2^-8 is one rounding, and three lie on the way."""
    op, _ = made("softcap", 65, 65)
    half = [t.bfloat16() for t in tensors(op)]
    results = []
    for dtype in (torch.bfloat16, torch.float64):
        given = [t.detach().to(dtype).requires_grad_() for t in half]
        out, lse = attend(rebuilt(op, given))
        (out.double().sum() + lse.masked_fill(lse.isneginf(), 0).double().sum()).backward()
        results.append([t.grad for t in given])
        assert all(t.grad is not None and t.grad.dtype == dtype for t in given)
    for mine, truth in zip(*results, strict=True):
        assert mine is not None and truth is not None
        assert (mine.double() - truth).abs().max() <= 3 * 2**-8 * truth.abs().max()


def test_second_derivatives_are_refused() -> None:
    """They would be silently wrong otherwise."""
    op, _ = made("plain")
    q = op.q.requires_grad_()
    (grad,) = torch.autograd.grad(attend(op)[0].square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


def _dense(op: Operands) -> tuple[Tensor, Tensor]:
    maps = dense.maps(op)
    return maps.out, maps.lse
