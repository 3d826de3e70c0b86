"""The row kernel of CUDA devices: in Triton's interpreter, or on a GPU where there is one, and compiled for two of NVIDIA's."""

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from regard.kernels import rows_triton
from regard.kernels.rows import MASKED, Answered, Asked

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
INTERPRETED = {} if DEVICE == "cuda" or __name__ == "__main__" else {"TRITON_INTERPRET": "1"}
with patch.dict(os.environ, INTERPRETED):  # read when Triton is imported, and again when a kernel is made
    pytest.importorskip("triton")
    DTYPES = [dtype for dtype in rows_triton.DTYPES if rows_triton.supports(torch.empty(1, device=DEVICE, dtype=dtype))]

TOLERANCE = 2e-5
"""Per unit of `1 + |expected|`. Scores here stay below 30 or so, and 30 * 6e-8 is the rounding of one of them."""
SMALL = st.sampled_from([16, 32])
LENGTHS = st.sampled_from([33, 1, 7, 16, 40])
"""Up to three of the smallest tiles, of which Triton's interpreter takes some 6 ms each."""


@pytest.fixture(autouse=True, scope="module")
def interpreted() -> Iterator[None]:
    with patch.dict(os.environ, INTERPRETED):
        yield


def weights(asked: Asked) -> tuple[Tensor, Tensor]:
    """Return log-sum-exps [batch, head, query] and weights [batch, head, query, key], by the book and in float64."""
    heads, keys = asked.q.shape[1], torch.arange(asked.k.shape[2], device=asked.q.device)
    k = asked.k.double().repeat_interleave(heads // asked.k.shape[1], 1)
    scores = asked.scale * asked.q.double() @ k.mT
    if asked.softcap is not None:
        scores = asked.softcap * torch.tanh(scores / asked.softcap)
    if asked.bias is not None:
        scores = scores + asked.bias.double().masked_fill(asked.bias <= MASKED / 2, -math.inf)[:, :, None]
    seen = (keys >= asked.lo[..., None]) & (keys < asked.hi[..., None])
    scores = scores.masked_fill(~seen[:, None], -math.inf)
    lse = scores.logsumexp(-1)
    if asked.beside is not None:
        lse = torch.logaddexp(lse, asked.beside.double())
    return lse, torch.exp(scores - lse.masked_fill(lse.isneginf(), 0.0)[..., None])


def expected(asked: Asked) -> Answered:
    """Return what is asked, from the whole map."""
    lse, a = weights(asked)
    score = -torch.special.entr(a).sum(-1) if asked.score else None
    apart = None
    if asked.places is not None:
        x, y = (place.double() for place in asked.places)
        apart = (a * (x[:, :, None] - y[:, None]).abs()[:, None]).sum(-1)
    row = None if asked.f is None else a @ asked.f.double().mT
    out = None if asked.v is None else a @ by_head(asked.v.double(), a.shape[1])
    col = None if asked.g is None else torch.einsum("bhij,mbhi->mbhj", a, asked.g.double())
    top = a.amax(-1) if asked.top else None
    return Answered(lse, out=out, score=score, top=top, apart=apart, row=row, col=col)


def by_head(v: Tensor, heads: int) -> Tensor:
    return v.repeat_interleave(heads // v.shape[1], 1)


@st.composite
def questions(draw: st.DrawFn, dtype: torch.dtype) -> Asked:
    """Draw an attention and what is asked of it."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    batch, kv_heads, group = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    heads, queries, keys = kv_heads * group, draw(LENGTHS), draw(LENGTHS)
    dim, value_dim, n = draw(st.integers(1, 20)), draw(st.integers(1, 20)), draw(st.sampled_from([1, 2, 3, 8]))
    either: Callable[[int], st.SearchStrategy[int]] = lambda size: st.sampled_from([1, size])  # noqa: E731

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def strided(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        match draw(st.integers(0, 2)):
            case 0:
                return normal(*shape).to(dtype)
            case 1:
                return normal(shape[0], shape[2], shape[1], shape[3]).transpose(1, 2).to(dtype)
        return normal(*shape[:3], 2 * shape[3])[..., ::2].to(dtype)

    def bounds() -> tuple[Tensor, Tensor]:
        rows = draw(either(batch))
        i = torch.arange(queries).expand(rows, -1)
        match draw(st.sampled_from(["full", "causal", "suffix", "window", "padded", "any"])):
            case "full":
                lo, hi = 0 * i, 0 * i + keys
            case "causal":
                lo, hi = 0 * i, i + 1 + draw(st.integers(-3, 8))
            case "suffix":
                lo, hi = i, 0 * i + keys
            case "window":
                lo, hi = i - draw(st.integers(0, 20)), i + 1
            case "padded":
                lo, hi = 0 * i + draw(st.integers(0, keys)), i + 1
            case _:
                lo, hi = (torch.randint(0, keys + 1, (rows, queries), generator=generator) for _ in range(2))
        later = draw(st.integers(0, 20)) * torch.arange(rows)[:, None]
        return (lo + later).clamp(0, keys).int(), (hi + later).clamp(0, keys).int()

    def sometimes(make: Callable[[], Any]) -> Any:
        return make() if draw(st.booleans()) else None

    def bias() -> Tensor:
        made = normal(draw(either(batch)), draw(either(heads)), keys)
        return made.masked_fill(normal(*made.shape) > 0.5, draw(st.sampled_from([MASKED, -math.inf, -20.0])))

    def values() -> Tensor:
        shape = (draw(either(batch)), draw(st.sampled_from([1, kv_heads, heads])), keys, value_dim)
        return strided(*shape, dtype=draw(st.sampled_from([dtype, torch.float32])))

    lo, hi = bounds()
    asked = Asked(
        strided(batch, heads, queries, dim),
        strided(batch, kv_heads, keys, dim),
        sometimes(values),
        draw(st.sampled_from([dim**-0.5, 1.0])),
        lo,
        hi,
        softcap=draw(st.sampled_from([None, 2.0, 30.0])),
        bias=sometimes(bias),
        beside=sometimes(
            lambda: normal(batch, heads, queries).masked_fill(normal(batch, heads, queries) > 1, -math.inf)
        ),
        f=sometimes(lambda: normal(draw(either(batch)), draw(either(heads)), n, keys)),
        g=sometimes(lambda: normal(draw(st.sampled_from([1, 2, 9])), batch, heads, queries)),
        places=sometimes(lambda: (normal(draw(either(batch)), queries), normal(draw(either(batch)), keys))),
        score=draw(st.booleans()),
        top=draw(st.booleans()),
    )
    return to_device(asked)


def to_device(asked: Asked) -> Asked:
    moved = {name: value.to(DEVICE) for name, value in vars(asked).items() if isinstance(value, Tensor)}
    places = None if asked.places is None else (asked.places[0].to(DEVICE), asked.places[1].to(DEVICE))
    return replace(asked, places=places, **moved)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@settings(max_examples=30)
@given(data=st.data())
def test_everything_asked_at_once(dtype: torch.dtype, data: st.DataObject) -> None:
    asked = data.draw(questions(dtype))
    tile = ((data.draw(SMALL), data.draw(SMALL)),) * 2
    with patch.multiple(rows_triton, HALF=tile, SINGLE=tile, WIDTH=data.draw(st.sampled_from([64, 512]))):
        got = rows_triton.rows(asked)
    compare(got, asked)


@pytest.mark.parametrize(
    ("lo", "hi"),
    [
        (lambda i: 0 * i, lambda i: i + 1),
        (lambda i: i, lambda i: 0 * i + 40),
        (lambda i: (i - 4).clamp_min(0), lambda i: (i + 20).clamp_max(40)),
        (lambda i: 30 - 0 * i, lambda i: 20 + 0 * i),
        (lambda i: 30 * (i >= 16), lambda i: 20 + 0 * i),
        (lambda i: 20 * (i % 2), lambda i: 40 - 10 * (i % 2)),
    ],
    ids=["causal", "from itself on", "window", "dead", "some dead", "by turns"],
)
def test_tiles_that_are_seen_in_part(lo: Callable[[Tensor], Tensor], hi: Callable[[Tensor], Tensor]) -> None:
    asked = question(torch.float16, 40, 40, batch=2)
    i = torch.arange(40, device=DEVICE, dtype=torch.int32)[None]
    lows, highs = torch.cat([lo(i), 0 * i]), torch.cat([hi(i), 40 - i])  # the second of the batch always sees ever less
    asked = replace(asked, lo=lows.int(), hi=highs.int(), beside=None)
    with patch.object(rows_triton, "HALF", ((16, 16),) * 2):
        compare(rows_triton.rows(asked), asked)


def compare(got: Answered, asked: Asked) -> None:
    true = expected(asked)
    assert torch.equal(got.lse.isneginf(), true.lse.isneginf())
    alive = ~true.lse.isneginf()
    agree(got.lse[alive], true.lse[alive])
    for name in ("out", "score", "top", "apart", "row", "col"):
        have, want = getattr(got, name), getattr(true, name)
        assert (have is None) == (want is None), name
        if want is not None:
            agree(have, want, rounding(asked) if name == "out" else 0.0)


def rounding(asked: Asked) -> Tensor | float:
    """Return how far the output may be off because weights are rounded to 16 bits where they meet values of 16 bits."""
    if asked.v is None or asked.v.dtype == torch.float32:
        return 0.0
    a = weights(asked)[1]
    return a @ by_head(asked.v.double().abs(), a.shape[1]) * torch.finfo(asked.v.dtype).eps / 2


def agree(have: Tensor, want: Tensor, allowed: Tensor | float = 0.0) -> None:
    assert have.shape == want.shape
    assert have.dtype == torch.float32
    off = (have.double() - want).abs() - TOLERANCE * (1 + want.abs()) - allowed
    assert not (off.nan_to_num(1.0) > 0).any(), f"off by {off.max().item():.2e} more than allowed"


def question(dtype: torch.dtype, queries: int = 5, keys: int = 7, dim: int = 16, batch: int = 1) -> Asked:
    """Return a causal question with everything in it, for 2 heads."""
    q, k, v = (torch.randn(batch, 2, size, dim, dtype=dtype, device=DEVICE) for size in (queries, keys, keys))
    hi = torch.arange(queries, device=DEVICE, dtype=torch.int32)[None] + 1 + keys - queries
    beside, f, g = (
        torch.randn(*shape, device=DEVICE) for shape in ((batch, 2, queries), (1, 1, 3, keys), (2, batch, 2, queries))
    )
    places = (torch.randn(1, queries, device=DEVICE), torch.randn(1, keys, device=DEVICE))
    bias = torch.randn(1, 1, keys, device=DEVICE)
    return Asked(
        *(q, k, v, dim**-0.5, 0 * hi, hi),
        **{
            "softcap": 30.0,
            "bias": bias,
            "beside": beside,
            "f": f,
            "g": g,
            "places": places,
            "score": True,
            "top": True,
        },
    )


def test_what_is_no_number_shows_in_its_row_and_in_the_columns_that_it_sees() -> None:
    asked = question(torch.float32)
    asked.q[0, 1, 2] = math.nan
    got = rows_triton.rows(asked)
    for name in ("lse", "out", "score", "top", "apart", "row"):
        wrong = (
            getattr(got, name).isnan().flatten(3).any(-1) if getattr(got, name).ndim > 3 else getattr(got, name).isnan()
        )
        assert wrong.nonzero().tolist() == [[0, 1, 2]], name
    assert got.col is not None
    assert got.col.isnan().nonzero().tolist() == [[m, 0, 1, j] for m in range(2) for j in range(5)]


def test_a_block_of_keys_is_shown_to_the_queries_that_see_it_and_to_no_block_more() -> None:
    i = torch.arange(64, dtype=torch.int32)[None]
    first, last = rows_triton._reach((i - 20).clamp_min(0), i + 1, 64, 8, 16)
    assert first.tolist() == [[0, 2, 4, 6]]
    assert last.tolist() == [[5, 7, 8, 8]]  # key 15 is seen up to query 35, in block 4
    first, last = rows_triton._reach(i, i, 64, 8, 16)
    assert not (first < last).any()


def test_the_kernel_says_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    q = torch.empty(1, 1, 1, 64, device=DEVICE)
    assert rows_triton.supports(q)
    assert not rows_triton.supports(q.double())
    assert rows_triton.supports(q.bfloat16()) == q.is_cuda
    assert rows_triton.supports(q.new_empty(1, 1, 1, 128))
    assert not rows_triton.supports(q.new_empty(1, 1, 1, 129))
    assert rows_triton.supports(q.new_empty(1, 1, 1, 256).half())
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not rows_triton.supports(q.cpu())
    assert not rows_triton.supports(q.to("meta"))


@pytest.mark.parametrize("capability", [80, 90])
def test_both_kernels_compile_for_a_gpu(capability: int, tmp_path: Path) -> None:
    # In a process of its own, because Triton that is imported to interpret compiles nothing.
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, __file__, str(capability)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0, run.stderr
    found = [line.split() for line in run.stdout.splitlines()]
    assert [name for name, *_ in found] == ["_attend", "_columns"] * 2
    for name, dtype, products, shared in found:
        expected = "fma" if dtype == "float32" else "wgmma" if capability == 90 else "mma"
        assert products == expected, (name, dtype)
        assert int(shared) <= 160 * 2**10, (name, dtype)


def compile_all(capability: int) -> None:
    """Compile the kernels as `rows` would have them, in the widest tiles of two dtypes, and print what came of it."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    class Recorded:
        """A kernel that is compiled, where it would be launched."""

        def __init__(self, kernel: Any) -> None:
            self.kernel = kernel

        def __getitem__(self, grid: tuple[int, int, int]) -> Callable[..., None]:
            return self.compile

        def compile(self, num_warps: int, num_stages: int, **given: Any) -> None:
            types, fixed, aligned = {}, {}, {}
            for place, parameter in enumerate(self.kernel.params):
                value = given[parameter.name]
                if parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1):
                    types[parameter.name], fixed[(place,)] = "constexpr", value
                    continue
                types[parameter.name] = NAMES[value.dtype] if isinstance(value, Tensor) else NAMES[type(value)]
                if isinstance(value, Tensor) or value % 16 == 0:
                    aligned[(place,)] = [["tt.divisibility", 16]]
            source = ASTSource(fn=self.kernel, signature=types, constexprs=fixed, attrs=aligned)
            made = triton.compile(
                source, GPUTarget("cuda", capability, 32), {"num_warps": num_warps, "num_stages": num_stages}
            )
            ptx = made.asm["ptx"]
            products = "wgmma" if "wgmma" in ptx else "mma" if "mma.sync" in ptx else "fma"
            print(self.kernel.fn.__name__, str(given["q"].dtype).removeprefix("torch."), products, made.metadata.shared)

    kernels = tuple(Recorded(kernel) for kernel in rows_triton._kernels())
    with patch.object(rows_triton, "_kernels", lambda: kernels):
        rows_triton.rows(question(torch.bfloat16, 512, 512, 128))
        rows_triton.rows(question(torch.float32, 512, 512, 64))


def test_a_kernel_that_is_wrong_or_fails_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    q, compute = torch.empty(1, device=DEVICE), rows_triton.rows

    def off(asked: Asked) -> Answered:
        answered = compute(asked)
        assert answered.out is not None
        return replace(answered, out=answered.out + 0.1)

    def fails(asked: Asked) -> Answered:
        raise RuntimeError("out of resource: shared memory")

    for wrong, why in ((off, "off by 1.0e-01"), (fails, "shared memory")):
        rows_triton._right.cache_clear()
        monkeypatch.setattr(rows_triton, "rows", wrong)
        with pytest.warns(UserWarning, match=why):
            assert not rows_triton.supports(q)
    monkeypatch.undo()
    rows_triton._right.cache_clear()
    assert rows_triton.supports(q)


NAMES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int32: "*i32", float: "fp32", int: "i32"}
"""What Triton calls the types of arguments."""

if __name__ == "__main__":
    compile_all(int(sys.argv[1]))
