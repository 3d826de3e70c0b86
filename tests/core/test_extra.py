"""Extra keys and values: in every row's softmax and output, but no keys of the call."""

from dataclasses import replace
from unittest.mock import patch

import edits
import pytest
import strategies as draws
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.core import blockwise, dense, fused
from regard.core.attend import attend
from regard.core.attention import Attention
from regard.core.effects import ExtraKV
from regard.core.mask import Mask
from regard.core.operands import Extra, Operands
from regard.core.terms import Col, Lse, Row, Score


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@settings(max_examples=30)
@given(data=st.data())
def test_fused_and_blockwise(dtype: torch.dtype, data: st.DataObject) -> None:
    """Every term by either way, several extras at once, some of them for some rows."""
    op = data.draw(draws.operands(dtype, plain=True))
    for _ in range(data.draw(st.integers(1, 2))):
        op = data.draw(edits.with_extra(op))
    truth = dense.maps(
        draws.double(replace(op, extra=tuple(Extra(e.k.double(), e.v.double(), e.rows) for e in op.extra)))
    )
    f, g = torch.rand(op.k_len, 2), torch.randn(op.batch, op.q_len)
    out, lse = fused.attend(op)
    answers = [lse, fused.score(op), fused.row(op, f), fused.col(op, g, lse)]
    asked = [Lse(), Score(), Row(f), Col(g)]
    draws.agree(answers, truth, asked, dtype)
    assert draws.deviation(out, truth.out) <= draws.TOLERANCE[dtype]
    with patch.object(blockwise, "BLOCK_ELEMENTS", data.draw(st.sampled_from([1, 5000]))):
        draws.agree(blockwise.answer(op, (), asked), truth, asked, dtype)
        assert draws.deviation(blockwise.attend(op)[0], truth.out) <= draws.TOLERANCE[dtype]


def test_extra_keys_are_keys_put_in_front() -> None:
    """The same attention with the extra keys among its own: what they take is what the others lack."""
    q, k, v = (torch.randn(2, 4, 9, 8, dtype=torch.float64) for _ in range(3))
    more_k, more_v = (torch.randn(1, 4, 3, 8, dtype=torch.float64) for _ in range(2))
    mask = Mask(2, 9, 9, q.device, causal=True)
    edited = Attention(Operands(q, k, v, mask, 0.35), lambda: q).apply(ExtraKV(more_k, more_v))
    long_k, long_v = (torch.cat([new.expand(2, -1, -1, -1), old], 2) for new, old in ((more_k, k), (more_v, v)))
    together = Operands(q, long_k, long_v, Mask(2, 9, 12, q.device, causal=True, offset=3), 0.35)
    out, lse = attend(together)
    torch.testing.assert_close(edited.output(), out)
    total, mass = edited.answer([Lse(), Row(torch.ones(9, 1))])
    (taken,) = Attention(together, lambda: q).answer([Row((torch.arange(12) < 3).double()[:, None])])
    assert isinstance(mass, torch.Tensor)
    torch.testing.assert_close(total, lse)
    torch.testing.assert_close(1 - mass, taken)
