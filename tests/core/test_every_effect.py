"""Every effect, alone and in chains, on some rows and on rectangles of the call, against its definition on full maps."""

from dataclasses import replace
from itertools import product
from unittest.mock import patch

import edits
import pytest
import strategies as draws
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from regard.core import blockwise, dense
from regard.core.attend import attend
from regard.core.attention import Attention
from regard.core.effects import Block, Effect, Out, Output, Replace, SetScores
from regard.core.operands import Operands
from regard.core.patchwork import Patchwork
from regard.core.terms import Attend, Lse, Rows, Term

KINDS = pytest.mark.parametrize("kind", edits.KINDS)
PAIRS = [pair for pair in product(edits.KINDS, repeat=2) if edits.in_order(pair) and "output" not in pair[:1]]
LENGTHS = st.sampled_from([1, 2, 7]) | st.integers(3, 40)
BLOCKS = st.sampled_from([1, 500, blockwise.BLOCK_ELEMENTS])
CLOSE = draws.TOLERANCE[torch.float64]


@st.composite
def attentions(draw: st.DrawFn, dtype: torch.dtype = torch.float64) -> Operands:
    op = draw(draws.operands(dtype, lengths=LENGTHS, plain=draw(st.booleans())))
    return draw(edits.with_extra(op)) if draw(st.sampled_from([False, False, True])) else op


def agree(attention: Attention | Patchwork, truth: dense.Maps, asked: list[Term], effects: list[Effect]) -> None:
    if any(isinstance(effect, Output) for effect in effects):
        asked = [term for term in asked if isinstance(term, Lse)]
    for answer, term in zip(attention.answer(asked), asked, strict=True):
        expected = dense.answer(truth, term)
        if isinstance(term, Attend):
            assert all(draws.deviation(a, e) <= CLOSE for a, e in zip(answer, expected, strict=True))
        else:
            draws.agree([answer], truth, [term], torch.float64)


@KINDS
@settings(max_examples=20)
@given(data=st.data())
def test_alone(kind: str, data: st.DataObject) -> None:
    """On all rows and on some: there the oracle's output, elsewhere the host's own bits, and terms about what is left."""
    op = data.draw(attentions())
    host = attend(op)[0]
    effect, rows = data.draw(edits.effects(op, kind)), data.draw(edits.some_rows(op, kind))
    asked = data.draw(draws.terms(op))[: data.draw(st.integers(1, 11))]
    with patch.object(blockwise, "BLOCK_ELEMENTS", data.draw(BLOCKS)):
        for one in (effect, effect.only(rows)):
            truth = dense.maps(op, [one])
            edited = Attention(op, lambda: host).apply(one)
            assert draws.deviation(edited.output(), truth.out) <= CLOSE
            agree(edited, truth, [*asked, Attend(op.k, op.v)], [one])
        assert torch.equal(edited.output()[~rows.expand(host.shape[:3])], host[~rows.expand(host.shape[:3])])


@KINDS
@settings(max_examples=15)
@given(data=st.data())
def test_on_a_rectangle(kind: str, data: st.DataObject) -> None:
    """Some heads and a range of queries of a call that is in pieces already."""
    op = data.draw(attentions())
    host = attend(op)[0]
    effect = data.draw(edits.effects(op, kind))
    heads, queries = data.draw(draws.selections(op))
    if isinstance(effect, Replace) and effect.q is None:
        queries = (0, op.q_len)
    rectangle = torch.zeros(1, op.heads, op.q_len, dtype=torch.bool)
    rectangle[:, torch.arange(op.heads) if heads is None else heads, slice(*queries)] = True
    asked = data.draw(draws.terms(op))[: data.draw(st.integers(1, 11))]
    with patch.object(blockwise, "BLOCK_ELEMENTS", data.draw(BLOCKS)):
        truth = dense.maps(op, [effect.only(rectangle)])
        nothing = edits.Bias(torch.zeros(1, 1, 1, 1))
        patchwork = Patchwork.of(op, lambda: host).apply(nothing, *data.draw(draws.selections(op)))
        patchwork = patchwork.apply(effect.select(heads, slice(*queries), op.heads), heads, queries)
        out = patchwork.output(lambda: host)
        assert draws.deviation(out, truth.out) <= CLOSE
        inside = rectangle.expand(op.batch, -1, -1)
        assert torch.equal(out[~inside], host[~inside])
        agree(patchwork, truth, asked, [effect])


@KINDS
@settings(max_examples=15)
@given(data=st.data())
def test_a_rectangle_of_what_is_edited(kind: str, data: st.DataObject) -> None:
    """An effect on the whole call is cut to the pieces that a second one leaves, and to what a later edit asks about."""
    op = data.draw(attentions())
    later = [second for second in edits.KINDS if edits.in_order((kind, second)) and second not in ("keys", "output")]
    first, second = (data.draw(edits.effects(op, k)) for k in (kind, data.draw(st.sampled_from(later))))
    heads, queries = data.draw(draws.selections(op))
    rectangle = torch.zeros(1, op.heads, op.q_len, dtype=torch.bool)
    rectangle[:, torch.arange(op.heads) if heads is None else heads, slice(*queries)] = True
    truth = dense.maps(op, [first, second.only(rectangle)])
    with patch.object(blockwise, "BLOCK_ELEMENTS", data.draw(BLOCKS)):
        patchwork = Patchwork.of(op, lambda: attend(op)[0]).apply(first, None, (0, op.q_len))
        patchwork = patchwork.apply(second.select(heads, slice(*queries), op.heads), heads, queries)
        assert draws.deviation(patchwork.output(lambda: attend(op)[0]), truth.out) <= CLOSE
        agree(patchwork, truth, data.draw(draws.terms(op))[: data.draw(st.integers(1, 11))], [first])
        heads, queries = data.draw(draws.selections(op))
        (total,) = patchwork.select(heads, queries).answer([Lse()])
        assert isinstance(total, torch.Tensor)
        expected = truth.lse[:, torch.arange(op.heads) if heads is None else heads, slice(*queries)]
        assert draws.deviation(total, expected) <= CLOSE


@pytest.mark.parametrize("kinds", PAIRS, ids="-".join)
@settings(max_examples=3, phases=[Phase.generate])
@given(data=st.data())
def test_pairs(kinds: tuple[str, str], data: st.DataObject) -> None:
    chain(kinds, data)


@settings(max_examples=60)
@given(data=st.data())
def test_triples(data: st.DataObject) -> None:
    kinds = tuple(data.draw(st.sampled_from(edits.KINDS[:-1])) for _ in range(3))
    chain(tuple(sorted(kinds, key=lambda kind: edits.STAGES.index(edits.STAGE[kind]))), data)


def chain(kinds: tuple[str, ...], data: st.DataObject) -> None:
    """Apply effects in the order given, each perhaps on some rows only."""
    op = data.draw(attentions())
    effects = []
    for kind in kinds:
        effect = data.draw(edits.effects(op, kind))
        effects.append(effect.only(data.draw(edits.some_rows(op, kind))) if data.draw(st.booleans()) else effect)
    truth = dense.maps(op, effects)
    attention = Attention(op, lambda: attend(op)[0])
    with patch.object(blockwise, "BLOCK_ELEMENTS", data.draw(BLOCKS)):
        for effect in effects:
            if isinstance(effect, Output) and attention.stage in ("scores", "weights"):
                with pytest.raises(ValueError, match="such edits do not compose"):
                    attention.apply(effect)
                return
            attention = attention.apply(effect)
        assert draws.deviation(attention.output(), truth.out) <= CLOSE
        agree(attention, truth, data.draw(draws.terms(op))[: data.draw(st.integers(1, 11))], effects)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@KINDS
@settings(max_examples=6)
@given(data=st.data())
def test_neutral_is_bit_equal(kind: str, dtype: torch.dtype, data: st.DataObject) -> None:
    op = data.draw(attentions(torch.float32))
    op = replace(op, **{name: getattr(op, name).to(dtype) for name in ("q", "k", "v")})
    host = data.draw(draws.sources(dtype))(op.batch, op.heads, op.q_len, op.v.shape[-1])  # not what attend() would give
    effect = data.draw(edits.neutral(op, kind))
    assert torch.equal(Attention(op, lambda: host).apply(effect).output(), host)


def test_a_made_output_has_no_weights() -> None:
    op = Operands(*(torch.randn(1, 2, 3, 4) for _ in range(3)), draws.Mask(1, 3, 3, torch.device("cpu")), 0.5)
    attention = Attention(op, lambda: op.q).apply(Output(op.q))
    with pytest.raises(ValueError, match="no weights to ask about"):
        attention.answer([draws.Score()])
    with pytest.raises(ValueError, match="no log-sum-exp"):
        attention.answer([Lse()])


def test_keys_cannot_be_replaced_for_some_queries() -> None:
    op = Operands(*(torch.randn(1, 2, 3, 4) for _ in range(3)), draws.Mask(1, 3, 3, torch.device("cpu")), 0.5)
    effect = Replace(k=torch.randn(1, 2, 3, 4)).only(torch.tensor([[[True, False, True]]]))
    with pytest.raises(ValueError, match="for some queries only"):
        Attention(op, lambda: op.q).apply(effect)
    with pytest.raises(ValueError, match="ExtraKV"):
        Attention(op, lambda: op.q).apply(Replace(k=torch.randn(1, 2, 5, 4)))


def test_a_law_cannot_show_what_the_mask_hides() -> None:
    """tanh of -inf is -1: a finite score, for keys that come later."""
    q, k, v = (torch.randn(1, 2, 7, 4, dtype=torch.float64) for _ in range(3))
    op = Operands(q, k, v, draws.Mask(1, 7, 7, q.device, causal=True), 0.5)
    law = SetScores(lambda scores, block: scores.tanh())
    attention = Attention(op, lambda: attend(op)[0]).apply(law)
    (weights,) = attention.answer(
        [Rows(lambda weights, block: torch.nn.functional.pad(weights, (0, 7 - block.cols[1])))]
    )
    assert isinstance(weights, torch.Tensor)
    expected = (q @ k.transpose(-1, -2) / 2).tanh().masked_fill(torch.ones(7, 7).triu(1) > 0, float("-inf")).softmax(-1)
    torch.testing.assert_close(weights, expected)
    torch.testing.assert_close(attention.output(), expected @ v)
    torch.testing.assert_close(dense.maps(op, [law]).weights, expected)


def test_what_is_hidden_per_head_stays_with_the_head() -> None:
    """Keys hidden from each head apart are a part of the mask, and are cut with it."""
    op = Operands(*(torch.randn(2, 4, 5, 4) for _ in range(3)), draws.Mask(2, 5, 5, torch.device("cpu")), 0.5)
    block, half = Block(torch.rand(2, 4, 5) > 0.7), torch.tensor([1, 2])
    patchwork = Patchwork.of(op, lambda: attend(op)[0]).apply(block, None, (0, 5)).apply(Out(0.5), half, (0, 5))
    asked: list[Term] = [Lse(), draws.Col(), draws.Score()]
    draws.agree(patchwork.answer(asked), dense.maps(draws.double(op), [block]), asked, torch.float32)
