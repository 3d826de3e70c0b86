"""The same queries on other keys, and attentions merged by log-sum-exp."""

from unittest.mock import patch

import pytest
import strategies as draws
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.core import blockwise, dense
from regard.core.attend import attend
from regard.core.attention import Attention
from regard.core.effects import Out
from regard.core.mask import Mask
from regard.core.merge import merge
from regard.core.operands import Operands
from regard.core.patchwork import Patchwork
from regard.core.terms import Attend, Attended, Lse, Row


@settings(max_examples=25)
@given(data=st.data())
def test_attend_to_other_keys(data: st.DataObject) -> None:
    """With masks and biases of their own, whole and of a call cut into pieces, beside terms about the call's own keys."""
    op = data.draw(draws.operands())
    normal = data.draw(draws.sources())
    kv, n = data.draw(st.sampled_from([op.k.shape[1], op.heads])), data.draw(st.integers(1, 9))
    batch = data.draw(st.sampled_from([1, op.batch]))
    k, v = normal(batch, kv, n, op.q.shape[-1]), normal(batch, kv, n, 3)
    mask = data.draw(st.none() | draws.masks(op.batch, op.heads, op.q_len, n))
    bias = data.draw(st.sampled_from([None, normal(1, op.heads, 1, n), normal(op.batch, 1, op.q_len, n)]))
    asked = [Attend(k, v, mask, bias), Row(normal(op.k_len, 1)), Attend(op.k, op.v, op.mask)]
    truth = dense.maps(op)
    patchwork = Patchwork.of(op, lambda: attend(op)[0])
    for _ in range(data.draw(st.integers(0, 2))):
        patchwork = patchwork.apply(Out(0.5), *data.draw(draws.selections(op)))
    for answer, term in zip(patchwork.answer(asked), asked, strict=True):
        expected = dense.answer(truth, term)
        for mine, true in zip(answer, expected, strict=True) if isinstance(term, Attend) else [(answer, expected)]:
            assert draws.deviation(mine, true) <= draws.TOLERANCE[torch.float64]


@settings(max_examples=25)
@given(data=st.data())
def test_merging_disjoint_keys_is_the_whole(data: st.DataObject) -> None:
    """Cut at any key; one part may be masked for a row, or for all."""
    op = data.draw(draws.operands(lengths=st.integers(2, 65)))
    at = data.draw(st.integers(1, op.k_len - 1))
    whole = attend(op.over(op.k, op.v, op.mask, op.bias))
    halves = [op.over(op.k, op.v, op.mask, op.bias).narrow(cols) for cols in ((0, at), (at, op.k_len))]
    merged = merge(*(Attended(*attend(half)) for half in halves))
    for mine, true in zip(merged, whole, strict=True):
        assert draws.deviation(mine, true) <= draws.TOLERANCE[torch.float64]


def test_merging_nothing_is_nothing_and_has_a_gradient() -> None:
    out, lse = torch.randn(1, 1, 2, 3, requires_grad=True), torch.tensor([[[float("-inf"), 1.0]]], requires_grad=True)
    blind = Attended(torch.zeros(1, 1, 2, 3), torch.tensor([[[float("-inf")] * 2]]))
    merged = merge(Attended(out, lse), blind)
    assert (merged.out[..., 0, :] == 0).all() and torch.isneginf(merged.lse[..., 0]).all()
    torch.testing.assert_close(merged.out[..., 1, :], out[..., 1, :])
    (merged.out.sum() + merged.lse[..., 1].sum()).backward()
    assert out.grad is not None and out.grad.isfinite().all() and out.grad[..., 1, :].eq(1).all()
    assert lse.grad is not None and lse.grad.isfinite().all()


@pytest.mark.parametrize("blocks", [1, blockwise.BLOCK_ELEMENTS])
def test_both_ends_of_other_keys_have_gradients(blocks: int) -> None:
    """A loss on two attentions merged reaches the other keys, their values and the queries."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 7, 4, dtype=torch.float64) for _ in range(3))
    other_k, other_v = (torch.randn(1, 1, 3, 4, dtype=torch.float64) for _ in range(2))
    mask = Mask(1, 7, 7, q.device, causal=True)

    def loss(q: torch.Tensor, other_k: torch.Tensor, other_v: torch.Tensor) -> torch.Tensor:
        op = Operands(q, k, v, mask, 0.5)
        other, own = Attention(op, lambda: q).answer([Attend(other_k, other_v), Attend(k, v, mask)])
        assert isinstance(other, Attended) and isinstance(own, Attended)
        merged = merge(other, own)
        return merged.out.square().sum() + merged.lse.sum()

    with patch.object(blockwise, "BLOCK_ELEMENTS", blocks):
        assert torch.autograd.gradcheck(loss, [t.requires_grad_() for t in (q, other_k, other_v)])


def test_the_merged_log_sum_exp_is_that_of_all_keys() -> None:
    q, k, v = (torch.randn(1, 2, 7, 4) for _ in range(3))
    op = Operands(q, k, v, Mask(1, 7, 7, q.device), 0.5)
    (lse,) = Attention(op, lambda: q).answer([Lse()])
    merged = merge(*(Attended(*attend(op.narrow(cols))) for cols in ((0, 2), (2, 3), (3, 7))))
    torch.testing.assert_close(merged.lse, lse)
