"""What every statistic has to keep to, run over all that `regard.measure` exports."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
import torch
from batches import DIM, KINDS, Kind, Truth, batch, kinds, rows, single
from by_map import CASES
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from regard import measure
from regard.core import blockwise
from regard.core.call import Call
from regard.core.effects import Bias, Effect, Mix
from regard.core.patchwork import Patchwork
from regard.core.planner import measured
from regard.core.protocols import Statistic
from regard.core.terms import Part

STATISTICS = [statistic for statistic, _ in CASES]
EVERY = pytest.mark.parametrize("statistic", STATISTICS, ids=lambda statistic: statistic.name)
EVERY_BY_MAP = pytest.mark.parametrize(("statistic", "by_map"), CASES, ids=[s.name for s in STATISTICS])
EXACT, ROUNDED = 1e-10, 1e-5
"""Per unit of `1 + |expected|`: what float64 and float32 leave of sums over a hundred weights."""
STEPS = (measure.SinkRate, measure.QueryCount)
"""Without a gradient: steps and counts."""


def value(statistic: Statistic, call: Call) -> Tensor:
    """What the statistic says of a call by itself."""
    return measured(call, Patchwork.of(call.op, call.host), [statistic])[0][statistic.name]


def assert_close(got: Tensor, expected: Tensor, tolerance: float) -> None:
    assert got.shape == expected.shape
    torch.testing.assert_close(got.double(), expected.double(), atol=tolerance, rtol=tolerance, equal_nan=True)


def test_the_batches_hold_what_must_not_count() -> None:
    """Padded queries, padded keys, queries that see no key, a text without any query."""
    call = batch(KINDS["table"])
    assert (call.qpos < 0).any() and (call.kpos < 0).any()
    assert (~call.live & (call.qpos >= 0)[:, None]).any()
    assert (batch(KINDS["one query"]).qpos >= 0).any() and (batch(Kind((1, 9), padding="right", past=5)).qpos < 0).all(
        -1
    ).any()


def test_every_statistic_has_its_definition_on_the_map() -> None:
    exported = {getattr(measure, name) for name in measure.__all__}
    assert exported - {type(statistic) for statistic in STATISTICS} == set()


@EVERY_BY_MAP
@settings(max_examples=40)
@given(kind=kinds(), block=st.sampled_from([1, 500, blockwise.BLOCK_ELEMENTS]))
def test_it_is_what_the_map_says(
    statistic: Statistic, by_map: Callable[[Truth], Tensor], kind: Kind, block: int
) -> None:
    call = batch(kind)
    with patch.object(blockwise, "BLOCK_ELEMENTS", block):
        assert_close(value(statistic, call), by_map(Truth.of(call)), EXACT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@EVERY_BY_MAP
def test_it_is_as_good_in_every_dtype(
    statistic: Statistic, by_map: Callable[[Truth], Tensor], dtype: torch.dtype
) -> None:
    """Weights of half-precision operands are computed in float32: only the operands are rounded, for the oracle as well."""
    for name in ("grouped", "both ways", "window", "additive", "sink", "extra keys", "softcap"):
        call = batch(replace(KINDS[name], dtype=dtype))
        assert_close(value(statistic, call), by_map(Truth.of(call)), ROUNDED)


@EVERY
def test_axes_name_what_it_returns(statistic: Statistic) -> None:
    call = batch(KINDS["grouped"])
    sizes = {"head": 3, "key": call.op.k_len, "rank": getattr(statistic, "k", None), "entry": 2}
    sizes |= {"segment": 2, "n": 2}
    layer, *axes = statistic.axes
    assert layer == "layer"
    assert list(value(statistic, call).shape) == [call.op.batch, *(sizes[axis] for axis in axes)]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@EVERY
def test_a_batch_is_its_texts(statistic: Statistic, kind: Kind) -> None:
    """Each text gives the same alone, without padding; no padded query or key ever counts."""
    call = batch(kind)
    together = value(statistic, call)
    for text in range(call.op.batch):
        in_batch = together[text]
        if not (call.qpos[text] >= 0).any():
            assert "key" in statistic.axes or isinstance(statistic, measure.QueryCount) or in_batch.isnan().all()
            continue
        if "key" in statistic.axes:
            padding = call.kpos[text] < 0
            assert in_batch[..., padding].isnan().all()
            in_batch = in_batch[..., ~padding]
        assert_close(in_batch, value(statistic, single(call, text))[0], EXACT)


@pytest.mark.parametrize("name", ["grouped", "one key", "cached", "sink"])
@EVERY
def test_two_halves_are_the_whole(statistic: Statistic, name: str) -> None:
    call = batch(replace(KINDS[name], lengths=(9, 13, 11, 1)))
    whole, first, second = statistic.reducer(), statistic.reducer(), statistic.reducer()
    whole.add(value(statistic, call))
    first.add(value(statistic, rows(call, slice(1))))
    second.add(value(statistic, rows(call, slice(1, None))))
    first.merge(second)
    assert whole.finish().keys() == first.finish().keys()
    for key, expected in whole.finish().items():
        got = first.finish()[key]
        pairs = zip(got, expected, strict=True) if isinstance(expected, list) else [(got, expected)]
        for a, b in pairs:
            assert_close(a, b, EXACT)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_all_together_are_each_alone(kind: Kind) -> None:
    """One packed round takes other ways through the core than one question does."""
    call = batch(kind)
    values, _ = measured(call, Patchwork.of(call.op, call.host), STATISTICS)
    assert len(values) == len(STATISTICS)
    for statistic in STATISTICS:
        assert_close(values[statistic.name], value(statistic, call), EXACT)


@pytest.mark.parametrize("name", ["grouped", "sink", "window"])
def test_the_spot_check_passes(name: str) -> None:
    call = batch(KINDS[name])
    _, deviation = measured(call, Patchwork.of(call.op, call.host), STATISTICS, check=True)
    assert deviation <= EXACT


def effects(call: Call) -> dict[str, Effect]:
    """Effects that shift weight, take all of some rows, and block a key."""
    b, h, q, k = call.op.batch, call.op.heads, call.op.q_len, call.op.k_len
    part = Part(torch.where(call.kpos < 0, -1, call.kpos % 3).clamp_max(1), 2)
    blocked = torch.zeros(1, 1, 1, k, dtype=torch.float64)
    blocked[..., k // 2] = float("-inf")
    return {
        "renormalised": Mix(part, torch.tensor([0.3, 2.0]).double().view(1, 1, 1, 2), "mass"),
        "emptied": Mix(part, (torch.rand(b, h, q, 2) > 0.4).double()),
        "blocked": Bias(blocked),
    }


@pytest.mark.parametrize("effect", ["renormalised", "emptied", "blocked"])
@pytest.mark.parametrize("name", ["grouped", "both ways", "sink", "cached"])
@EVERY_BY_MAP
def test_it_is_of_the_edited_attention(
    statistic: Statistic, by_map: Callable[[Truth], Tensor], name: str, effect: str
) -> None:
    call = batch(KINDS[name])
    change = effects(call)[effect]
    patchwork = Patchwork.of(call.op, call.host).apply(change, None, (0, call.op.q_len))
    truth = Truth.of(call, change)
    if effect == "blocked" and statistic.name != "centred_head_similarity":
        # How many keys a query sees, and how many queries a key, is what the mask says, whatever an edit blocks.
        truth = replace(truth, a=torch.where(Truth.of(call).a.isnan(), torch.nan, truth.a.nan_to_num()))
    got = measured(call, patchwork, [statistic])[0][statistic.name]
    assert_close(got, by_map(truth), EXACT)


@pytest.mark.parametrize("elements", [blockwise.BLOCK_ELEMENTS, 200], ids=["one block", "several blocks"])
@pytest.mark.parametrize("name", ["grouped", "causal"])
@EVERY_BY_MAP
def test_it_is_of_all_heads_where_some_are_edited(
    statistic: Statistic,
    by_map: Callable[[Truth], Tensor],
    name: str,
    elements: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blockwise, "BLOCK_ELEMENTS", elements)
    call = batch(KINDS[name])
    change = effects(call)["renormalised"]
    heads, span = torch.tensor([1]), (2, call.op.q_len - 1)
    patchwork = Patchwork.of(call.op, call.host).apply(change, heads, span)
    where = torch.zeros(1, call.op.heads, call.op.q_len, dtype=torch.bool)
    where[:, 1, slice(*span)] = True
    got = measured(call, patchwork, [statistic])[0][statistic.name]
    assert_close(got, by_map(Truth.of(call, change.only(where))), EXACT)


@pytest.mark.parametrize("name", ["grouped", "both ways", "table", "sink", "softcap"])
@pytest.mark.parametrize("statistic", [s for s in STATISTICS if not isinstance(s, STEPS)], ids=lambda s: s.name)
def test_gradients(statistic: Statistic, name: str) -> None:
    kind = replace(KINDS[name], lengths=(3, 24) if name == "table" else (4, 8), kv_heads=1, groups=2)
    call = batch(kind)
    sink = [call.op.sink] if call.op.sink is not None else []
    inputs = [t.clone().requires_grad_() for t in (call.op.q, call.op.k, *sink)]
    assert inputs[0].shape[-1] == DIM

    def of(q: Tensor, k: Tensor, *sink: Tensor) -> Tensor:
        values = value(statistic, _with(call, q, k, *sink))
        if isinstance(statistic, measure.TopKeys):
            values = values[..., 1]  # positions are steps
        return values[~values.isnan()]

    assert of(*inputs).numel() > 0
    assert torch.autograd.gradcheck(of, inputs, fast_mode=True)


@pytest.mark.parametrize("statistic", [s for s in STATISTICS if isinstance(s, STEPS)], ids=lambda s: s.name)
def test_steps_have_no_gradient(statistic: Statistic) -> None:
    call = batch(KINDS["grouped"])
    assert not value(statistic, _with(call, call.op.q.requires_grad_(), call.op.k)).requires_grad


def _with(call: Call, q: Tensor, k: Tensor, *sink: Tensor) -> Call:
    changes: dict[str, Any] = {"q": q, "k": k, **({"sink": sink[0]} if sink else {})}
    return replace(call, op=replace(call.op, **changes))


@settings(max_examples=20)
@given(kind=kinds())
def test_what_must_add_up(kind: Kind) -> None:
    call = batch(kind)
    names = [
        "received_sum",
        "query_count",
        "sink_share",
        "segment_mass[odd,even]",
        "mass[odd]",
        "mass[rest]",
        "sink_mass",
    ]
    names += ["max_weight", "participation_ratio", "effective_keys", "head_similarity", "entropy", "distance"]
    asked = [statistic for statistic in STATISTICS if statistic.name in names]
    v, _ = measured(call, Patchwork.of(call.op, call.host), asked)
    counted = v["query_count"] > 0
    given = v["query_count"] * (1 - v["sink_share"])
    assert_close(v["received_sum"].nansum(-1)[counted], given[counted], EXACT)
    parts = v["segment_mass[odd,even]"]
    assert_close(parts.sum(-1), 1 - v["sink_share"], EXACT)
    assert_close(parts[..., 0], v["mass[odd]"], EXACT)
    assert_close(v["sink_mass"] + v["mass[rest]"], 1 - v["sink_share"], EXACT)
    few, many = v["participation_ratio"][counted], v["effective_keys"][counted]
    assert (few >= 1 - EXACT).all() and (few <= many + EXACT).all() and (many <= call.op.k_len + EXACT).all()
    assert (v["max_weight"][counted] > 0).all() and (v["max_weight"][counted] <= 1 + EXACT).all()
    cosines = v["head_similarity"][counted]
    assert (cosines >= -EXACT).all() and (cosines <= 1 + EXACT).all()
    own = v["head_similarity"].diagonal(dim1=-2, dim2=-1)[counted]
    assert_close(own, torch.ones_like(own), EXACT)
