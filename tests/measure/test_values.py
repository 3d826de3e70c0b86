"""Statistics on attentions whose numbers are known without computing them, and what statistics refuse."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import regard
from regard.core.attend import attend
from regard.core.call import Call, Site
from regard.core.mask import Mask
from regard.core.operands import Operands
from regard.core.patchwork import Patchwork
from regard.core.planner import measured
from regard.core.protocols import Statistic
from regard.core.session import Session
from regard.core.terms import Far, Row
from regard.measure.rows import reach

ONE_HOT = 800.0
"""A score above 0 that leaves a row's other keys a weight of exactly 0, in float64 as well."""


def call_of(logits: Tensor, causal: bool = True, sink: float | None = None, role: str = "self") -> Call:
    """Return a call whose scores before the mask are given, [batch, head, query, key]."""
    b, h, q, k = logits.shape
    zero = torch.zeros(b, h, max(q, k), 4, dtype=logits.dtype)
    mask = Mask(b, q, k, logits.device, causal=causal, offset=k - q)
    sinks = None if sink is None else torch.full((h,), sink, dtype=logits.dtype)
    op = Operands(zero[:, :, :q], zero[:, :, :k], zero[:, :, :k], mask, 0.5, sink=sinks, bias=logits)
    site = Site("layers.0", 0, 0, role, h, h, "test", frozenset())
    qpos, kpos = (torch.arange(k)[k - q :].expand(b, -1), torch.arange(k).expand(b, -1))
    return Call(site, op, qpos, kpos, k - q, 0, Session(), lambda: attend(op)[0])


def even(q: int, k: int | None = None, **options: Any) -> Call:
    """Attention spread evenly over what the mask leaves."""
    return call_of(torch.zeros(1, 1, q, k or q, dtype=torch.float64), **options)


def pointing(*targets: Sequence[int], causal: bool = False) -> Call:
    """Heads whose query i looks at key targets[head][i] and nowhere else."""
    index = torch.tensor(targets)
    logits = torch.zeros(1, *index.shape, index.shape[1], dtype=torch.float64)
    return call_of(logits.scatter(-1, index[None, ..., None], ONE_HOT), causal)


def value(statistic: Statistic, call: Call) -> Tensor:
    return measured(call, Patchwork.of(call.op, call.host), [statistic])[0][statistic.name]


def only(statistic: Statistic, call: Call) -> float:
    return value(statistic, call).item()


def harmonic(n: int) -> float:
    return sum(1 / i for i in range(1, n + 1))


def test_even_causal_attention() -> None:
    """Query i gives each of i + 1 keys its even share."""
    n = 64
    call = even(n)
    assert only(regard.SinkMass(), call) == pytest.approx(harmonic(n) / n)  # 0.0741, the paper's number at 64
    assert only(regard.SinkScore(), call) == pytest.approx(harmonic(n) / n)
    assert only(regard.SinkRate(0.07), call) == 1
    assert only(regard.SinkRate(0.3), call) == 0
    assert only(regard.QueryCount(), call) == n
    assert only(regard.Entropy(normalised=True), call) == pytest.approx(1)
    assert only(regard.Entropy(), call) == pytest.approx(math.lgamma(n + 1) / n)
    assert only(regard.EffectiveKeys(), call) == pytest.approx((n + 1) / 2)
    assert only(regard.ParticipationRatio(), call) == pytest.approx((n + 1) / 2)
    assert only(regard.MaxWeight(), call) == pytest.approx(harmonic(n) / n)
    assert only(regard.Distance(), call) == pytest.approx((n - 1) / 4)
    assert only(regard.SignedDistance(), call) == pytest.approx((n - 1) / 4)
    stds = [math.sqrt(((i + 1) ** 2 - 1) / 12) for i in range(n)]  # of a discrete even distribution
    assert only(regard.DistanceStd(), call) == pytest.approx(sum(stds) / n)
    assert value(regard.HeadSimilarity(centred=True), call).isnan().all()


def test_one_hot_heads() -> None:
    n = 16
    previous = [max(i - 1, 0) for i in range(n)]
    first, following = [0] * n, [min(i + 1, n - 1) for i in range(n)]
    call = pointing(previous, first, following, previous)
    assert value(regard.Entropy(), call).abs().max() == 0
    torch.testing.assert_close(value(regard.SinkRate(), call), torch.tensor([[0.0, 1, 0, 0]]).double())
    exact = {"rtol": 0, "atol": 1e-12}
    far = torch.tensor([[(n - 1) / n, (n - 1) / 2, (n - 1) / n, (n - 1) / n]]).double()
    torch.testing.assert_close(value(regard.Distance(), call), far, **exact)
    torch.testing.assert_close(value(regard.SignedDistance(), call), far * torch.tensor([1, 1, -1, 1]), **exact)
    torch.testing.assert_close(value(regard.DistanceStd(), call), torch.zeros(1, 4).double(), **exact)
    torch.testing.assert_close(value(regard.EffectiveKeys(), call), torch.ones(1, 4).double(), **exact)
    # One-hot maps share a row where they look at the same key: previous and first in two rows, first and following in none.
    shared = torch.tensor([[1, 2 / n, 0, 1], [2 / n, 1, 0, 2 / n], [0, 0, 1, 0], [1, 2 / n, 0, 1]]).double()
    torch.testing.assert_close(value(regard.HeadSimilarity(), call)[0], shared, **exact)
    top = value(regard.TopKeys(2), call)[0]
    torch.testing.assert_close(top[1], torch.tensor([[0, 1], [torch.nan, torch.nan]]).double(), equal_nan=True)
    torch.testing.assert_close(top[0, 0], torch.tensor([0, 2 / n]).double())


def test_heads_that_spread_differently() -> None:
    logits = torch.zeros(1, 2, 8, 8, dtype=torch.float64)
    logits[:, 1, :, 3] = ONE_HOT
    call = call_of(logits, causal=False)
    assert only(regard.EntropySpread(), call) == pytest.approx(math.log(8) / 2)  # entropies log 8 and 0
    assert only(regard.EntropySpread(), pointing([0, 0], [1, 0])) == 0


def test_a_sink_logit_takes_its_share() -> None:
    """The logit weighs as much as four keys of score 0."""
    call = even(4, causal=False, sink=math.log(4))
    assert only(regard.SinkShare(), call) == pytest.approx(0.5)
    assert only(regard.SinkMass(), call) == pytest.approx(0.125)
    assert only(regard.EffectiveKeys(), call) == pytest.approx(4)
    assert only(regard.ParticipationRatio(), call) == pytest.approx(4)
    assert only(regard.Distance(), call) == pytest.approx(1.25)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keys_are_counted_where_a_sink_leaves_next_to_nothing(dtype: torch.dtype) -> None:
    """Squares of the weights are 1e-52, nothing in float32."""
    logits = torch.zeros(1, 1, 5, 5, dtype=dtype)
    call = call_of(logits, causal=False, sink=60.0)
    for statistic in (regard.EffectiveKeys(), regard.ParticipationRatio()):
        assert only(statistic, call) == pytest.approx(5, rel=1e-5)
    assert only(regard.Distance(), call) == pytest.approx(1.6, rel=1e-5)


def test_a_short_text_has_no_sink_rate() -> None:
    assert math.isnan(only(regard.SinkRate(0.3), even(6)))
    assert only(regard.SinkRate(0.3), even(7)) == 1  # 0.37
    assert math.isnan(only(regard.SinkScore(position=9), even(9)))


def test_max_leaves_out_tokens_that_few_queries_see() -> None:
    """The last token is seen by itself only, and gets all that it can; the fourth is the sink."""
    targets = [min(i, 3) for i in range(15)] + [15]
    call = pointing(targets, causal=True)
    assert only(regard.SinkScore(position="max"), call) == pytest.approx(12 / 13)
    assert only(regard.SinkScore(position=3), call) == pytest.approx(12 / 13)
    assert math.isnan(only(regard.SinkRate(position=15), call))
    assert only(regard.SinkRate(position=1), call) == 0


def test_a_far_and_local_head_in_float32() -> None:
    """Attention on the token before, 16,000 tokens into a text: squares of positions lose it in float32."""
    n = 16_000
    logits = torch.full((1, 1, 2, n), -ONE_HOT)
    logits[..., 0, n - 4 : n - 2] = 0.0
    logits[..., 1, n - 3 : n - 1] = 0.0
    call = call_of(logits)
    assert only(regard.Distance(), call) == pytest.approx(1.5, abs=0.01)
    assert only(regard.DistanceStd(), call) == pytest.approx(0.5, rel=1e-5)


def test_distances_across_sequences_are_none() -> None:
    for statistic in (regard.Distance(), regard.DistanceStd(), regard.SignedDistance()):
        assert math.isnan(only(statistic, even(4, 6, causal=False, role="cross")))


def test_top_keys_of_a_segment_of_the_queries() -> None:
    class Answer:
        def keys(self, name: str, call: Call) -> Tensor:
            return call.kpos >= 4

    call = pointing([0, 0, 0, 0, 2, 2], causal=True)
    call.session.segments = Answer()
    torch.testing.assert_close(value(regard.TopKeys(1, "answer"), call)[0, 0], torch.tensor([[2, 1]]).double())
    torch.testing.assert_close(value(regard.TopKeys(1), call)[0, 0], torch.tensor([[0, 4 / 6]]).double())


class Overlapping:
    """`early` and `late` share a token, `gap` leaves one out."""

    def keys(self, name: str, call: Call) -> Tensor:
        return {"early": call.kpos <= 2, "late": call.kpos >= 2, "gap": call.kpos > 3}[name]


def test_segments_that_are_no_partition() -> None:
    call = even(6)
    call.session.segments = Overlapping()
    with pytest.raises(ValueError, match="1 of 6 tokens are in more than one, 0 in none"):
        value(regard.SegmentMass(("early", "late")), call)
    with pytest.raises(
        ValueError, match=r"early, gap are no partition .* 0 of 6 tokens are in more than one, 1 in none"
    ):
        value(regard.SegmentMass(("early", "gap")), call)
    assert value(regard.SegmentMass(("first", "rest")), call).sum() == pytest.approx(1)


def test_a_function_of_too_few_keys() -> None:
    with pytest.raises(ValueError, match=r"f has values for 3 positions, and a text at layers\.0 has 4"):
        value(regard.KeyFunction(torch.zeros(3, 1)), even(4))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: regard.SinkRate(1.2), "between 0 and 1, not 1.2"),
        (lambda: regard.SinkScore(0), "between 0 and 1, not 0"),
        (lambda: regard.SinkRate(position="last"), "first, max, or counts tokens from 0, not 'last'"),
        (lambda: regard.SinkRate(position=-1), "counts tokens from 0, not -1"),
        (lambda: regard.Received("max"), "mean or sum, not 'max'"),
        (lambda: regard.TopKeys(0), "from 1, not 0"),
        (lambda: regard.SegmentMass(()), "different names"),
        (lambda: regard.SegmentMass(("image", "image")), "different names"),
        (lambda: regard.KeyFunction(torch.zeros(3)), r"f is \[key, n\], not \[3\]"),
    ],
)
def test_what_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_names_tell_options_apart() -> None:
    statistics: list[Statistic] = [
        regard.Entropy(),
        regard.Entropy(normalised=True),
        regard.Received(),
        regard.Received("sum"),
        regard.SinkRate(),
        regard.SinkRate(position="max"),
        regard.SinkRate(position=3),
        regard.SinkScore(),
        regard.HeadSimilarity(),
        regard.HeadSimilarity(centred=True),
        regard.TopKeys(),
        regard.TopKeys(queries="last"),
        regard.SegmentMass(["a", "b"]),  # type: ignore[arg-type]
        regard.KeyFunction(torch.zeros(1, 1), name="mine"),
    ]
    assert [statistic.name for statistic in statistics] == [
        "entropy",
        "normalised_entropy",
        "received",
        "received_sum",
        "sink_rate",
        "sink_rate[max]",
        "sink_rate[3]",
        "sink_score",
        "head_similarity",
        "centred_head_similarity",
        "top_keys",
        "top_keys[last]",
        "segment_mass[a,b]",
        "mine",
    ]


def asked(statistic: Statistic, call: Call) -> Any:
    """The first term that a statistic asks for."""
    return next(iter(next(statistic.plan(call)).values()))


@pytest.mark.parametrize("statistic", [regard.Distance(), regard.SignedDistance()], ids=lambda s: s.name)
def test_distance_back_needs_no_rows(statistic: Statistic) -> None:
    """Where queries see only what is behind them, a row functional tells the distance."""
    assert isinstance(asked(statistic, even(5, 9)), Row)


def test_distance_both_ways_needs_no_rows_either() -> None:
    assert isinstance(asked(regard.Distance(), even(5, causal=False)), Far)


@pytest.mark.parametrize("kind", ["full", "causal", "padded", "by head", "of the key", "of both", "table"])
def test_reach(kind: str) -> None:
    b, q, k = 2, 5, 8
    keys = torch.rand(b, k) > 0.4
    base: dict[str, Any] = {"batch": b, "q_len": q, "k_len": k, "device": torch.device("cpu")}
    mask = {
        "full": lambda: Mask(**base),
        "causal": lambda: Mask(**base, causal=True, offset=-2),
        "padded": lambda: Mask(**base, causal=True, offset=3, keys=keys),
        "by head": lambda: Mask(**base, keys=torch.rand(b, 3, k) > 0.4),
        "of the key": lambda: Mask(**base, function=lambda b, h, q, k: k > 2),
        "of both": lambda: Mask(**base, function=lambda b, h, q, k: (k > q - b) & (k <= q + 2), keys=keys, q_start=3),
        "table": lambda: Mask(**base, table=torch.randn(1, 3, q, k).masked_fill(torch.rand(q, k) > 0.5, -math.inf)),
    }[kind]()
    x = torch.zeros(b, 3, 8, 4)
    op = Operands(x[:, :, :q], x, x, mask, 1.0)
    site = Site("layers.0", 0, 0, "self", 3, 3, "test", frozenset())
    call = Call(site, op, torch.zeros(b, q), torch.zeros(b, k), 0, 0, Session(), lambda: x)
    allowed = mask.allowed((0, q), (0, k))
    expected = torch.ones(b, 3, q, k) if allowed is None else allowed.expand(b, 3, q, k)
    assert reach(call).shape[2] == q
    assert torch.equal(reach(call).expand(b, 3, q), expected.sum(-1).long())
