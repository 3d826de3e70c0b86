"""Every term, by every way there is to answer it, against the dense oracle in float64."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import pytest
import strategies as draws
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.core import blockwise, dense, fused, rowwise
from regard.core.attend import attend
from regard.core.attention import Attention
from regard.core.effects import Out
from regard.core.mask import Mask
from regard.core.operands import Operands
from regard.core.parts import parts
from regard.core.patchwork import Patchwork
from regard.core.terms import Col, Lse, Part, Row, Score, Term
from regard.kernels import rows_cpu

DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
BLOCKS = st.sampled_from([1, 500, 5000, blockwise.BLOCK_ELEMENTS])


@contextmanager
def kernel(there: bool) -> Iterator[None]:
    """Let the compiled kernel take every attention that it can, or none, as where there is no C compiler."""
    with patch.object(rowwise, "QUERIES", 1) if there else patch.object(rows_cpu, "supports", lambda q: False):
        yield


@DTYPES
@settings(max_examples=60)
@given(data=st.data())
def test_fused(dtype: torch.dtype, data: st.DataObject) -> None:
    op = data.draw(draws.operands(dtype, plain=True))
    assert fused.supports(op)
    truth = dense.maps(draws.double(op))
    out, lse = fused.attend(op)
    assert draws.deviation(out, truth.out) <= draws.TOLERANCE[dtype]
    for term in data.draw(draws.terms(op)):
        match term:
            case Lse():
                answer = lse
            case Score():
                answer = fused.score(op)
            case Row(f):
                answer = fused.row(op, f)
            case Col(g):
                answer = fused.col(op, g, lse)
            case Part():
                answer = parts(op, term, lse)
            case _:
                continue
        draws.agree([answer], truth, [term], dtype)


@DTYPES
@settings(max_examples=60)
@given(data=st.data())
def test_blockwise(dtype: torch.dtype, data: st.DataObject) -> None:
    op = data.draw(draws.operands(dtype))
    truth = dense.maps(draws.double(op))
    asked = data.draw(draws.terms(op))
    with patch.object(blockwise, "BLOCK_ELEMENTS", data.draw(BLOCKS)):
        out, lse = blockwise.attend(op)
        packed = blockwise.answer(op, (), asked)
        one_by_one = [blockwise.answer(op, (), [term])[0] for term in asked]
    assert draws.deviation(out, truth.out) <= draws.TOLERANCE[dtype]
    draws.agree([lse], truth, [Lse()], dtype)
    draws.agree(packed, truth, asked, dtype)
    for term, together, alone in zip(asked, packed, one_by_one, strict=True):
        assert draws.deviation(together, alone) <= draws.TOLERANCE[dtype], type(term).__name__


@settings(max_examples=150)
@given(data=st.data())
def test_rowwise(data: st.DataObject) -> None:
    op = data.draw(draws.operands(torch.float32))
    op = replace(op, bias=op.key_bias())
    with kernel(there=True):
        assert rowwise.supports(op) == (op.mask.bounds is not None)
    if op.mask.bounds is None:
        return
    truth = dense.maps(draws.double(op))
    out, lse = rowwise.attend(op)
    assert draws.deviation(out, truth.out) <= draws.TOLERANCE[torch.float32]
    draws.agree([lse], truth, [Lse()], torch.float32)
    asked = [term for term in data.draw(draws.terms(op)) if rowwise.answers(term)]
    draws.agree(rowwise.answer(op, asked), truth, asked, torch.float32)


@DTYPES
@pytest.mark.parametrize("compiled", [True, False], ids=["kernel", "no kernel"])
@settings(max_examples=60)
@given(data=st.data())
def test_attention_and_patchwork(compiled: bool, dtype: torch.dtype, data: st.DataObject) -> None:
    with kernel(compiled):
        op = data.draw(draws.operands(dtype))
        truth = dense.maps(draws.double(op))
        asked = data.draw(draws.terms(op))
        asked = asked[: data.draw(st.integers(1, len(asked)))]  # few terms go fused, many blockwise
        out, _ = attend(op)
        assert out.dtype == dtype
        assert draws.deviation(out, truth.out) <= draws.TOLERANCE[dtype]
        with patch.object(blockwise, "BLOCK_ELEMENTS", data.draw(BLOCKS)):
            draws.agree(Attention(op, lambda: out).answer(asked), truth, asked, dtype)
            alone = [Attention(op, lambda: out).answer([term])[0] for term in asked]
            draws.agree(alone, truth, asked, dtype)

            patchwork = Patchwork.of(op, lambda: out)
            for _ in range(data.draw(st.integers(1, 3))):  # neutral, but every one cuts the call into more pieces
                patchwork = patchwork.apply(Out(torch.ones(1, 1, 1, 1)), *data.draw(draws.selections(op)))
            draws.agree(patchwork.answer(asked), truth, asked, dtype)

            heads, queries = data.draw(draws.selections(op))
            part = op.select(heads, slice(*queries))
            of_part = data.draw(draws.terms(part))
            cut = patchwork.select(heads, queries).answer(of_part)
        draws.agree(cut, dense.maps(draws.double(part)), of_part, dtype)


def test_a_term_is_computed_once() -> None:
    op = Operands(torch.randn(1, 1, 5, 4), torch.randn(1, 1, 5, 4), torch.randn(1, 1, 5, 4), _full(5, 5), 0.5)
    attention, term = Attention(op, lambda: op.q), Score()
    (first,) = attention.answer([term])
    again, other = attention.answer([term, Score()])
    assert first is again
    assert first is not other


@pytest.mark.parametrize("way", ["fused", "blockwise", "rowwise"])
@pytest.mark.parametrize("sink", [False, True], ids=["plain", "sink logit"])
def test_score_of_a_sink_head(way: str, sink: bool) -> None:
    """A row's scores share an offset of hundreds; `sum A S - L` as two numbers would lose five digits."""
    q, k = torch.randn(1, 2, 63, 16, dtype=torch.float64), torch.randn(1, 2, 63, 16, dtype=torch.float64)
    q, k = q.abs().float(), (k + 40).float()
    logits = torch.tensor([300.0, 310.0]) if sink else None
    op = Operands(q, k, torch.randn(1, 2, 63, 16), Mask(1, 63, 63, q.device, causal=True), 0.25, sink=logits)
    expected = dense.answer(dense.maps(draws.double(op)), Score())
    term: Term = Score()
    answer = {
        "fused": lambda: fused.score(op),
        "blockwise": lambda: blockwise.answer(op, (), [term])[0],
        "rowwise": lambda: rowwise.answer(op, [term])[0],
    }[way]()
    # What float32 inputs allow: scores up to 300 are known to 300 * 6e-8 each.
    assert draws.deviation(answer, expected) <= 300 * 6e-8 * 4


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_a_query_that_sees_nothing_answers_zero(softcap: float | None) -> None:
    """Also where a kernel would return a log-sum-exp of 0, a uniform row, or NaN."""
    mask = Mask(2, 7, 9, torch.device("cpu"), causal=True, offset=-2, keys=torch.arange(9) >= torch.tensor([[0], [3]]))
    op = Operands(torch.randn(2, 2, 7, 4), torch.randn(2, 1, 9, 4), torch.randn(2, 1, 9, 4), mask, 0.5, softcap)
    part, col = Part(torch.zeros(1, 9, dtype=torch.long), 1), Col()
    attention = Attention(op, lambda: attend(op)[0])
    lse, score, row, shares, received = attention.answer([Lse(), Score(), Row(torch.ones(9, 1)), part, col])
    dead = torch.arange(7) < torch.tensor([[2], [5]])
    at = dead[:, None].expand(2, 2, 7)
    assert torch.isneginf(lse[at]).all() and lse[~at].isfinite().all()
    for zero in (attention.output(), score, row, *shares):
        assert (zero[at] == 0).all()
        assert zero.isfinite().all()
    torch.testing.assert_close(received.sum(-1), (~at).sum(-1).float())


def test_no_rows_to_ask_about() -> None:
    empty = Operands(torch.randn(1, 1, 3, 4), torch.randn(1, 1, 0, 4), torch.randn(1, 1, 0, 4), _full(3, 0), 0.5)
    with pytest.raises(ValueError, match="3 queries and 0 keys"):
        blockwise.answer(empty, (), [Lse()])


def _full(q_len: int, k_len: int) -> Mask:
    return Mask(1, q_len, k_len, torch.device("cpu"))
