"""Mask recipes against a dense mask that is written out from the definition."""

from dataclasses import replace

import pytest
import strategies as draws
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from regard.core.mask import Mask


@st.composite
def shaped_masks(draw: st.DrawFn) -> tuple[Mask, int]:
    """Draw a mask and its number of heads."""
    heads = draw(st.integers(1, 3))
    lengths = st.sampled_from([1, 2, 7, 20])
    return draw(draws.masks(draw(st.integers(1, 3)), heads, draw(lengths), draw(lengths))), heads


def written_out(mask: Mask, heads: int) -> Tensor:
    """Return the mask [batch, head, query, key], one entry after the other."""
    full = torch.zeros(mask.batch, heads, mask.q_len, mask.k_len, dtype=torch.bool)
    for at in full.nonzero().tolist() + (~full).nonzero().tolist():
        b, h, i, j = at
        seen = not mask.causal or j <= i + mask.offset
        if mask.function is not None:
            index = (torch.tensor(n) for n in (b, h, i + mask.q_start, j + mask.k_start))
            seen = seen and bool(mask.function(*index))
        if mask.keys is not None:
            seen = seen and bool(mask.keys.expand(mask.batch, -1)[b, j])
        if mask.table is not None:
            entry = mask.table.expand(mask.batch, heads, -1, -1)[b, h, i, j]
            seen = seen and bool(entry if entry.dtype == torch.bool else entry > torch.finfo(entry.dtype).min / 2)
        full[b, h, i, j] = seen
    return full


def allowed(mask: Mask, heads: int, rows: tuple[int, int], cols: tuple[int, int] | Tensor) -> Tensor:
    width = cols[1] - cols[0] if isinstance(cols, tuple) else cols.shape[-1]
    shape = (mask.batch, heads, rows[1] - rows[0], width)
    result = mask.allowed(rows, cols)
    return torch.ones(shape, dtype=torch.bool) if result is None else result.expand(shape)


@settings(max_examples=60)
@given(data=st.data())
def test_masks(data: st.DataObject) -> None:
    mask, heads = data.draw(shaped_masks())
    q, k = mask.q_len, mask.k_len
    truth = written_out(mask, heads)
    assert torch.equal(allowed(mask, heads, (0, q), (0, k)), truth)

    rows, cols = (_span(data, n) for n in (q, k))
    inside = truth[:, :, slice(*rows), slice(*cols)]
    assert torch.equal(allowed(mask, heads, rows, cols), inside)

    indices = torch.randint(k, (mask.batch, data.draw(st.integers(1, 5))))
    gathered = truth[:, :, slice(*rows)].gather(-1, indices[:, None, None].expand(-1, heads, rows[1] - rows[0], -1))
    assert torch.equal(allowed(mask, heads, rows, indices), gathered)

    lo, hi = mask.span(rows)
    assert 0 <= lo <= hi <= k
    outside = truth[:, :, slice(*rows)].clone()
    outside[..., lo:hi] = False
    assert not outside.any()

    dead = mask.dead()
    dead = torch.zeros(1, 1, q, dtype=torch.bool) if dead is None else dead
    assert torch.equal(dead.expand(mask.batch, heads, -1), ~truth.any(-1))

    queries = torch.rand(mask.batch, q) > 0.3
    counted = (truth & queries[:, None, :, None]).sum(2)
    assert torch.equal(mask.visible(queries).expand(mask.batch, heads, -1), counted.float())

    chosen = torch.tensor(sorted(data.draw(st.sets(st.integers(0, heads - 1), min_size=1))))
    some = mask.select(chosen, slice(*rows))
    assert torch.equal(allowed(some, len(chosen), (0, some.q_len), (0, k)), truth[:, chosen, slice(*rows)])
    both = some.narrow(cols)
    assert torch.equal(allowed(both, len(chosen), (0, some.q_len), (0, both.k_len)), inside[:, chosen])
    assert torch.equal(written_out(both, len(chosen)), inside[:, chosen])


def test_a_causal_span_leaves_out_the_future() -> None:
    """Else blocks of early queries would read keys that none of them sees."""
    mask = Mask(1, 8, 10, torch.device("cpu"), causal=True, offset=2)
    assert mask.span((0, 3)) == (0, 5)
    assert mask.span((5, 8)) == (0, 10)
    assert replace(mask, offset=-9).span((0, 3)) == (0, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_least_number_of_a_dtype_masks_and_a_large_bias_does_not(dtype: torch.dtype) -> None:
    least = torch.finfo(dtype).min
    table = torch.tensor([0.0, -1000.0, least, float("-inf")], dtype=dtype).view(1, 1, 1, 4)
    mask = Mask(1, 1, 4, torch.device("cpu"), table=table)
    assert allowed(mask, 1, (0, 1), (0, 4)).flatten().tolist() == [True, True, False, False]
    added = mask.added((0, 1), (1, 3))
    assert added is not None
    assert torch.equal(added, table[..., 1:3])
    assert replace(mask, table=table > -1).added((0, 1), (0, 4)) is None


def _span(data: st.DataObject, n: int) -> tuple[int, int]:
    start = data.draw(st.integers(0, n - 1))
    return start, data.draw(st.integers(start + 1, n))
