"""`regard bench core`: one attention call, plain, eager, and with what is asked of it or done to it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot, scaled_dot_product_attention

from ..core import blockwise, dense, fused, planner
from ..core.attention import Attention
from ..core.blockwise import Output
from ..core.call import Call, Site
from ..core.effects import Effect, Mix
from ..core.mask import Mask
from ..core.operands import Operands
from ..core.protocols import Statistic
from ..core.session import Session
from ..core.terms import Col, Lse, Part, Row, Score, Term
from ..measure import Distance, Entropy, Received, SinkMass, SinkRate
from .arms import Arm, deviation
from .result import EAGER, PLAIN, Result, Setting, compare, machine, versions

STATISTICS: tuple[Statistic, ...] = (SinkMass(), SinkRate(), Entropy(), Distance(), Received())
"""What `regard scan` measures."""


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
    row = Row(one_hot(segments.labels[0], segments.n).to(op.work_dtype))
    weights = torch.tensor([0.4, 1.5, 1.0], device=op.q.device)[None, None, None]  # as if moved from first to second
    mix = Mix(segments, weights)
    asked: dict[str, Term] = {"L": Lse(), "columns": Col(), "score": Score(), "segments": row}
    truth = _truth(op, asked, mix)

    def host() -> Tensor:
        return scaled_dot_product_attention(op.q, op.k, op.v, is_causal=size.causal)

    def checked(*names: str) -> Callable[[Any], float]:
        return lambda got: max(deviation(one, truth[name]) for one, name in zip(got, names, strict=True))

    def both(quantity: str, names: Sequence[str]) -> Iterator[Arm]:
        terms = [asked[name] for name in names]
        check = checked("output", *names)
        if fused.supports(op):
            yield Arm(quantity, "fused", lambda: _fused(op, terms), check)
        yield Arm(quantity, "blockwise", lambda: blockwise.answer(op, (), [Output(), *terms]), check)

    def planned() -> list[Tensor]:
        values = planner.run(_call(op, host), statistics=STATISTICS).values
        return [host(), *(values[statistic.name] for statistic in STATISTICS)]

    def eager(got: list[Tensor]) -> float:
        return checked("output", "columns")([got[0], got[1].double().sum(2)])

    return [
        Arm("output", PLAIN, lambda: [host()], checked("output")),
        Arm("+ map", EAGER, lambda: _eager(op), eager),
        *both("+ log-sum-exp", ["L"]),
        *both("+ column mass", ["columns"]),
        *both("+ entropy", ["score"]),
        *both("+ segment mass", ["segments"]),
        *both("+ all four", list(asked)),
        Arm("+ scan", "planner", planned, checked("output", *(statistic.name for statistic in STATISTICS))),
        Arm("scaled segments", "segments", lambda: [Attention(op, host).apply(mix).output()], checked("mixed")),
        Arm("scaled segments", "blockwise", lambda: blockwise.answer(op, (mix,), [Output()]), checked("mixed")),
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


def _eager(op: Operands) -> list[Tensor]:
    """Attend as eager implementations do: the map in the working dtype, then in that of the values."""
    scores = op.q @ op.k.transpose(-1, -2) * op.scale
    if op.mask.causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=op.q.device).triu(1)
        scores = scores.masked_fill(future, -torch.inf)
    weights = scores.softmax(-1, dtype=op.work_dtype).to(op.v.dtype)
    return [weights @ op.v, weights]


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


def _truth(op: Operands, asked: Mapping[str, Term], mix: Effect) -> dict[str, Tensor]:
    """The dense oracle's answers in float64, computed head by head, so that one head's map is held at a time."""
    heads: list[dict[str, Tensor]] = []
    for head in range(op.heads):
        one = op.select(torch.tensor([head], device=op.q.device), slice(None))
        one = replace(one, q=one.q.double(), k=one.k.double(), v=one.v.double())
        maps = dense.maps(one)
        found = {"output": maps.out, "mixed": dense.maps(one, [mix]).out}
        for name, term in asked.items():
            answer = dense.answer(maps, term)
            assert isinstance(answer, Tensor)
            found[name] = answer
        heads.append(found | {statistic.name: _told(statistic, one, maps) for statistic in STATISTICS})
    return {name: torch.cat([one[name] for one in heads], 1) for name in heads[0]}


def _told(statistic: Statistic, op: Operands, maps: dense.Maps) -> Tensor:
    """What a statistic makes of the oracle's answers."""
    plan = statistic.plan(_call(op, lambda: maps.out))
    terms = next(plan)
    while True:
        try:
            terms = plan.send({name: dense.answer(maps, term) for name, term in terms.items()})
        except StopIteration as stop:
            value: Tensor = stop.value
            return value
