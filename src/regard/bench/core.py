"""`regard bench core`: one attention call, plain, eager, and with what is asked of it or done to it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot, scaled_dot_product_attention

from ..core import blockwise, fused, planner, rowwise
from ..core.attention import Attention
from ..core.call import Call, Site
from ..core.effects import Mix
from ..core.mask import Mask
from ..core.operands import Operands
from ..core.protocols import Statistic
from ..core.session import Session
from ..core.terms import Block, Col, Lse, Part, Row, Score, Term
from ..measure import Distance, Entropy, Received, SinkMass, SinkRate
from .arms import Arm, deviation
from .maps import Shown, statistics
from .oracle import Oracle
from .result import EAGER, PLAIN, Result, Setting, compare, machine, versions

STATISTICS: tuple[Statistic, ...] = (SinkMass(), SinkRate(), Entropy(), Distance(), Received())
"""What `regard scan` measures."""
MAP_BYTES = 4 << 30
"""Where maps take more memory than this, several times over, none are made, and slower ways are not timed."""


@dataclass(frozen=True)
class Size:
    """The shape of q, k and v, [batch, head, length, dim], and whether the mask is causal."""

    length: int
    heads: int = 8
    dim: int = 64
    batch: int = 1
    causal: bool = False


def run(sizes: Sequence[Size], setting: Setting, progress: Callable[[], None]) -> Result:
    """Time attention of each size; `progress` is told of each round.

    Raises ValueError, before anything of a size is timed, if an answer differs from the oracle's.
    """
    shapes = [compare(asdict(size), arms(size, setting), setting, progress) for size in sizes]
    return Result("core", "attention", setting, machine(setting.device), versions("regard", "torch"), shapes)


def arms(size: Size, setting: Setting) -> list[Arm]:
    """Return the arms for random q, k and v, each with its check against the dense oracle."""
    op = _operands(size, setting)
    segments = _segments(op)
    mix = Mix(segments, _moved)
    row = Row(one_hot(segments.labels[0], segments.n).to(op.work_dtype))
    asked: dict[str, Term] = {"L": Lse(), "columns": Col(), "score": Score(), "segments": row}
    names = [statistic.name for statistic in STATISTICS]
    truth = Oracle(op, mix).truth(asked, {s.name: s.plan(_call(op, lambda: op.q)) for s in STATISTICS})

    def host() -> Tensor:
        return scaled_dot_product_attention(op.q, op.k, op.v, is_causal=size.causal)

    def measured() -> list[Tensor]:
        values = planner.run(_call(op, host), statistics=STATISTICS).values
        return [host(), *(values[name] for name in names)]

    def received() -> list[Any]:
        return [host(), *Attention(op, host).answer([asked["L"], asked["columns"]])]

    def checked(*names: str) -> Callable[[Any], float]:
        return lambda got: max(deviation(one, truth[name]) for one, name in zip(got, names, strict=True))

    ways = [Arm("+ four terms", way, run, checked("output", *asked)) for way, run in _ways(op, list(asked.values()))]
    return [
        Arm("output", PLAIN, lambda: [host()], checked("output")),
        *_eager(op, names, truth),
        Arm("+ statistics", "regard", measured, checked("output", *names)),
        Arm("+ received", "regard", received, checked("output", "L", "columns")),
        Arm("redistributed", "regard", lambda: [Attention(op, host).apply(mix).output()], checked("mixed")),
        *ways,
    ]


def _operands(size: Size, setting: Setting) -> Operands:
    device, dtype = torch.device(setting.device), getattr(torch, setting.dtype)
    generator = torch.Generator().manual_seed(setting.seed)
    shape = (size.batch, size.heads, size.length, size.dim)
    q, k, v = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(3))
    return Operands(q, k, v, Mask(size.batch, size.length, size.length, device, causal=size.causal), size.dim**-0.5)


def _segments(op: Operands) -> Part:
    """The first key, the quarter after it, and the others, as in moving attention from a sink to an image."""
    places = torch.arange(op.k_len, device=op.q.device)
    labels = torch.where(places == 0, 0, torch.where(places <= op.k_len // 4, 1, 2))
    return Part(labels.expand(op.batch, -1), 3)


def _moved(mass: Tensor, block: Block) -> Tensor:
    """Move 0.6 of what the first segment has to the second; a row that gives the second nothing keeps what it has."""
    taken, given, _ = mass.unbind(-1)
    there = (given > 0).to(mass.dtype)
    gain = 1 + 0.6 * there * taken / given.where(given > 0, 1.0)
    return torch.stack([1 - 0.6 * there, gain, torch.ones_like(gain)], -1)


def _call(op: Operands, host: Callable[[], Tensor]) -> Call:
    places = torch.arange(op.k_len, device=op.q.device).expand(op.batch, -1)
    site = Site(
        path="bench",
        use=0,
        layer=0,
        role="self",
        heads=op.heads,
        kv_heads=op.k.shape[1],
        tier="bench",
        gives=frozenset({"q", "k", "v"}),
    )
    return Call(site, op, places, places, 0, 0, Session(prompt=op.q_len), host)


def _eager(op: Operands, names: Sequence[str], truth: dict[str, Tensor]) -> Iterator[Arm]:
    """The map in the working dtype, then in that of the values, as eager implementations do; and what it tells."""
    if _large(op):
        return
    one = op.select(torch.tensor([0], device=op.q.device), slice(None))
    shown = Shown.of(_map(one))

    def run() -> list[Tensor]:
        weights = _map(op)
        found = statistics([weights.to(op.work_dtype)], [shown])
        return [weights @ op.v, *(found[name][0] for name in names)]

    def check(got: list[Tensor]) -> float:
        return max(deviation(one, truth[name]) for one, name in zip(got, ("output", *names), strict=True))

    yield Arm("+ statistics", EAGER, run, check)


def _large(op: Operands) -> bool:
    return 4 * op.batch * op.heads * op.q_len * op.k_len > MAP_BYTES


def _map(op: Operands) -> Tensor:
    scores = op.q @ op.k.transpose(-1, -2) * op.scale
    if op.mask.causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=op.q.device).triu(1)
        scores = scores.masked_fill(future, -torch.inf)
    return scores.softmax(-1, dtype=op.work_dtype).to(op.v.dtype)


def _ways(op: Operands, terms: Sequence[Term]) -> Iterator[tuple[str, Callable[[], list[Any]]]]:
    """The ways to compute the output and the terms."""
    if rowwise.supports(op):
        values = Row(op.v)
        yield "kernel", lambda: rowwise.answer(op, [values, *terms])
    if fused.supports(op) and not _large(op):
        yield "fused", lambda: _fused(op, terms)
    if not _large(op):
        yield "blockwise", lambda: blockwise.answer(op, (), [blockwise.Output(), *terms])


def _fused(op: Operands, terms: Sequence[Term]) -> list[Any]:
    """Answer by fused calls, of which the first gives output and log-sum-exp."""
    out, lse = fused.attend(op)
    answers: list[Any] = [out]
    for term in terms:
        match term:
            case Lse():
                answers.append(lse)
            case Col(g):
                answers.append(fused.col(op, g, lse))
            case Score():
                answers.append(fused.score(op))
            case Row(f):
                answers.append(fused.row(op, f))
    return answers
