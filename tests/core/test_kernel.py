"""The compiled kernel: where it is missing, several threads, numbers that are not finite, and the bounds of masks."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import strategies as draws
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from regard.core import blockwise, dense, rowwise
from regard.core.attend import attend
from regard.core.mask import Mask
from regard.core.operands import Operands
from regard.core.terms import Col, Far, Lse, Row, Score
from regard.kernels import compiled, rows_cpu


def made(n: int, dtype: torch.dtype = torch.float32, groups: int = 2) -> Operands:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 2 * groups, n, 24), (2, 2, n, 24), (2, 2, n, 24)]
    q, k, v = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
    return Operands(q, k, v, Mask(2, n, n, q.device, causal=True), 0.2)


def test_it_is_there() -> None:
    """Else all of these tests would be of PyTorch's operators."""
    assert rows_cpu.supports(torch.zeros(1))
    assert not rows_cpu.supports(torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_threads_give_the_same(dtype: torch.dtype) -> None:
    """Bit by bit, but for the column sums, which are summed in another order."""
    op, terms = made(700, dtype, groups=1), [Lse(), Score(), Row(torch.randn(700, 3)), Col()]
    before = torch.get_num_threads()
    try:
        answers = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            answers.append([*rowwise.answer(op, terms), *rowwise.attend(op)])
    finally:
        torch.set_num_threads(before)
    for index, (one, other) in enumerate(zip(*answers, strict=True)):
        assert isinstance(one, Tensor) and isinstance(other, Tensor)
        if index == terms.index(terms[-1]):
            torch.testing.assert_close(one, other)
        else:
            assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    op, terms = made(100, dtype), [Lse(), Score(), Row(torch.randn(100, 3)), Col(), Far(*[torch.arange(100)[None]] * 2)]
    draws.agree(rowwise.answer(op, terms), dense.maps(draws.double(op)), terms, torch.float32)


@pytest.mark.parametrize("where", ["q", "k", "v"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(where: str, value: float) -> None:
    """In the rows that it reaches; rows of the same block may follow, as weights of 0 times NaN are NaN."""
    op = made(64)
    tensor = getattr(op, where).clone()
    tensor[1, 1, 40] = value
    op = replace(op, **{where: tensor})
    (out, lse), (expected, expected_lse) = rowwise.attend(op), blockwise.attend(op)
    assert out[:, :, :8].isfinite().all()
    assert not expected[:, :, 40].isfinite().all()
    assert torch.equal(out[:, :, 40:].isfinite(), expected[:, :, 40:].isfinite())
    assert torch.equal(lse.isfinite(), expected_lse.isfinite())


@settings(max_examples=80)
@given(data=st.data())
def test_bounds_are_the_mask(data: st.DataObject) -> None:
    batch, q_len, k_len = (data.draw(st.integers(1, n)) for n in (3, 20, 20))
    mask = data.draw(draws.masks(batch, 1, q_len, k_len))
    seen = replace(mask, keys=None).allowed((0, q_len), (0, k_len))
    seen = torch.ones(1, 1, q_len, k_len, dtype=torch.bool) if seen is None else seen.expand(-1, -1, q_len, k_len)
    gaps = (seen[..., 1:] > seen[..., :-1]).sum(-1) + seen[..., 0].int() > 1
    if mask.bounds is None:
        assert gaps.any() or (mask.table is not None and mask.table.is_floating_point())
        return
    lo, hi = (bound[:, None, :, None] for bound in mask.bounds)
    at = torch.arange(k_len)
    assert torch.equal(((at >= lo) & (at < hi)).expand_as(seen), seen)


def test_without_a_compiler() -> None:
    """Everything is computed, by PyTorch's operators."""
    code = (
        "import torch; from regard.kernels import rows_cpu; from regard.core.mask import Mask\n"
        "from regard.core.operands import Operands; from regard.core.attend import attend\n"
        "x = torch.randn(1, 2, 40, 8); assert not rows_cpu.supports(x)\n"
        "attend(Operands(x, x, x, Mask(1, 40, 40, x.device), 1.0))\n"
    )
    for changed in ({"REGARD_COMPILE": "0"}, {"CC": "no-such-compiler"}, {"CC": "false"}):
        subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **changed})


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "regard").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library = compiled.library.__wrapped__("rows.c")
    assert library is not None and library.regard_panel() > 0


def test_the_one_door_takes_it() -> None:
    op = made(64)
    (out, lse), (ours, our_lse) = attend(op), rowwise.attend(op)
    assert torch.equal(out, ours) and torch.equal(lse, our_lse)
