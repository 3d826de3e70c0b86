"""Six methods of the literature as edits of a few lines each: what the terms and effects have to carry.

Each is compared with its definition on the whole map, written out apart; with the oracle, beside other edits; and on a model that
generates, where cached decoding has to be recomputation, or what the method's written rule says.
"""

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from functools import cache
from math import log
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from contract.batches import KINDS
from contract.edited_calls import call_of, exact, output, truth
from core import strategies as draws
from hosts.zoo import LLAMA
from torch import Tensor, nn

import regard
from regard.core import dense
from regard.core.call import Call
from regard.core.effects import Bias, Effect, KeyScale, Mix, Out, Output, Replace, Stage
from regard.core.mask import Mask
from regard.core.merge import merge
from regard.core.planner import edited
from regard.core.protocols import Causality, Terms
from regard.core.terms import Attend, Part
from regard.edit import BaseEdit

Plan = Generator[Terms, dict[str, Any], Effect | None]


@dataclass(frozen=True, eq=False, repr=False)
class GatedRedistribute(BaseEdit):
    """Move attention from one segment to another where a head attends enough to the second one (VAR)."""

    take_from: str
    give_to: str
    move: float
    above: float
    stage: ClassVar[Stage] = "weights"

    def plan(self, call: Call, state: dict[str, Any]) -> Plan:
        take, give = call.keys(self.take_from), call.keys(self.give_to)
        part = Part(torch.where(take, 0, torch.where(give, 1, -1)), 2)
        got = yield {"parts": part}
        taken, given = got["parts"].mass.unbind(-1)
        move = self.move * (given > self.above).to(given.dtype)
        return Mix(part, torch.stack([1 - move, 1 + move * taken / given.clamp_min(self.above)], -1))


@dataclass(frozen=True, eq=False, repr=False)
class Redirect(BaseEdit):
    """Push the scores of all keys outside a region down (gaze heads)."""

    region: str
    by: float
    stage: ClassVar[Stage] = "scores"

    def plan(self, call: Call, state: dict[str, Any]) -> Plan:
        yield {}
        outside = (call.kpos >= 0) & ~call.keys(self.region)
        return Bias((-self.by * outside.to(call.op.work_dtype))[:, None, None])


@dataclass(frozen=True, eq=False, repr=False)
class CalibrateSinks(BaseEdit):
    """Scale the weight of keys that receive more than `above` times the mean so far, and renormalise the rows (ACT).

    Rule: a key's sum is over all live rows up to the end of the pass that a row is in, of the attention before this edit; the
    first key is left alone. So a row of the prompt knows all of the prompt, and a decoded row all rows up to itself.
    """

    above: float
    by: float
    sums: list[Tensor] = field(default_factory=list, init=False)  # for the test to look into
    stage: ClassVar[Stage] = "weights"
    causality: ClassVar[Causality] = "sequence"

    def plan(self, call: Call, state: dict[str, Any]) -> Plan:
        got = yield {"received": call.received}
        before = state.get("received", got["received"][..., :0])
        state["received"] = nn.functional.pad(before, (0, call.op.k_len - before.shape[-1])) + got["received"]
        self.sums.append(state["received"])
        mean = state["received"].sum(-1, keepdim=True) / (call.kpos >= 0).sum(-1)[:, None, None]
        sinks = (state["received"] > self.above * mean) & (call.kpos > 0)[:, None]
        return KeyScale(1 - (1 - self.by) * sinks.to(mean.dtype), "mass")


@dataclass(frozen=True, eq=False, repr=False)
class FromAnotherRun(BaseEdit):
    """Put in the queries of another run: [batch, head, token, dim]."""

    queries_of: Tensor
    stage: ClassVar[Stage] = "inputs"

    def plan(self, call: Call, state: dict[str, Any]) -> Plan:
        yield {}
        return Replace(q=self.queries_of[:, :, call.q_index : call.q_index + call.op.q_len])


@dataclass(frozen=True, eq=False, repr=False)
class OutputsFromAnotherRun(BaseEdit):
    """Put in the head outputs of another run: [batch, head, token, value_dim]."""

    outputs_of: Tensor
    stage: ClassVar[Stage] = "outputs"

    def plan(self, call: Call, state: dict[str, Any]) -> Plan:
        yield {}
        return Out(value=self.outputs_of[:, :, call.q_index : call.q_index + call.op.q_len])


@dataclass(frozen=True, eq=False, repr=False)
class Gate(BaseEdit):
    """Scale each head's output by a gate that reads what its module was given: weight [width, head]."""

    weight: Tensor
    stage: ClassVar[Stage] = "outputs"

    def plan(self, call: Call, state: dict[str, Any]) -> Plan:
        yield {}
        return Out(torch.sigmoid(call.x() @ self.weight).transpose(1, 2)[..., None])


@dataclass(frozen=True, eq=False, repr=False)
class WindowAndPools(BaseEdit):
    """Attend to recent keys one by one, and to those before them as blocks, each by its mean key and mean value.

    Query i sees as blocks all that lie whole before its last `window` keys.
    """

    window: int
    block: int
    stage: ClassVar[Stage] = "outputs"

    def plan(self, call: Call, state: dict[str, Any]) -> Plan:
        size, missing, ago = self.block, -call.op.k_len % self.block, call.q_index - call.k_index
        real = nn.functional.pad(call.kpos >= 0, (0, missing)).unflatten(1, (-1, size))[:, None, ..., None]
        count = real.sum(3)

        def pooled(tensor: Tensor) -> Tensor:
            blocks = nn.functional.pad(tensor, (0, 0, 0, missing)).unflatten(2, (-1, size))
            return (blocks * real).sum(3) / count.clamp_min(1)

        def whole(q: Tensor) -> Tensor:  # blocks before the window of a query
            return (q + ago + 1 - self.window).clamp_min(0) // size

        near, far = (
            Mask(*call.qpos.shape, n, call.q.device, function=sees, keys=keys)
            for n, sees, keys in [
                (call.op.k_len, lambda b, h, q, k: (k <= q + ago) & (k >= whole(q) * size), call.kpos >= 0),
                (count.shape[2], lambda b, h, q, k: k < whole(q), None),
            ]
        )
        got = yield {
            "near": Attend(call.k, call.v, near),
            "far": Attend(pooled(call.k), pooled(call.v), far, count.to(call.q).log().transpose(2, 3)),
        }
        return Output(*merge(got["near"], got["far"]))


PROOFS = [GatedRedistribute, Redirect, CalibrateSinks, FromAnotherRun, OutputsFromAnotherRun, Gate, WindowAndPools]
for kind in PROOFS:
    del BaseEdit.kinds[kind.__name__]


@pytest.fixture(autouse=True)
def known_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in PROOFS:
        monkeypatch.setitem(BaseEdit.kinds, kind.__name__, kind)


def numbers(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def examples(call: Call) -> dict[str, BaseEdit]:
    """One edit of each kind, on all heads and rows of a call."""
    b, h, tokens = call.op.batch, call.op.heads, call.q_index + call.op.q_len
    return {
        "redistribution": GatedRedistribute("even", "odd", 0.6, 0.4),
        "redirection": Redirect("odd", 3.0, since=("prompt_end", -1)),
        "calibration": CalibrateSinks(1.2, 0.4),
        "queries": FromAnotherRun(numbers(b, h, tokens, call.q.shape[-1])),
        "outputs": OutputsFromAnotherRun(numbers(b, h, tokens, call.v.shape[-1])),
        "gate": Gate(numbers(5, h)),
        "sparse": WindowAndPools(3, 2),
    }


NAMES = list(examples(call_of(KINDS["grouped"])))


def hard_call(name: str) -> Call:
    """A call whose module was given something."""
    call = call_of(replace(KINDS[name], padding="left"))
    x = numbers(*call.qpos.shape, 5)
    return replace(call, x=lambda: x)


def by_map(name: str, edit: Any, call: Call) -> Tensor:
    """What the method says, key by key, on the whole map [batch, head, query, key]."""
    maps = dense.maps(call.op)
    a, out = maps.weights, maps.out.clone()
    for b, h, i in torch.cartesian_prod(*map(torch.arange, out.shape[:3])).tolist():
        row, kpos, q = a[b, h, i].clone(), call.kpos[b], call.q_index + i
        even, odd = (kpos >= 0) & (kpos % 2 == 0), (kpos >= 0) & (kpos % 2 == 1)
        match name:
            case "redistribution":
                if row[odd].sum() > edit.above:
                    moved = edit.move * row[even].sum()
                    row[odd] *= (row[odd].sum() + moved) / row[odd].sum()
                    row[even] *= 1 - edit.move
                out[b, h, i] = row @ maps.v[b, h]
            case "redirection":
                if q >= call.session.prompt - 1:
                    scores = maps.scores[b, h, i].clone()
                    scores[even] -= edit.by
                    sink = torch.tensor([]) if call.op.sink is None else call.op.sink[h : h + 1]
                    row = torch.cat([scores, sink]).softmax(0)[: len(row)] if row.any() else row
                    out[b, h, i] = row @ maps.v[b, h]
            case "calibration":
                received = a[b, h][call.live.expand(a.shape[:3])[b, h]].sum(0)
                sinks = (received > edit.above * received.sum() / (kpos >= 0).sum()) & (kpos > 0)
                new = torch.where(sinks, row * edit.by, row)
                out[b, h, i] = (new * row.sum() / new.sum() if new.any() else new) @ maps.v[b, h]
            case "queries":
                scores = call.op.scale * edit.queries_of[b, h, q] @ call.k[b, h // call.op.groups].T
                scores = scores if call.op.softcap is None else call.op.softcap * (scores / call.op.softcap).tanh()
                scores = scores if call.op.bias is None else scores + call.op.bias.expand(*a.shape)[b, h, i]
                sink = torch.tensor([]) if call.op.sink is None else call.op.sink[h : h + 1]
                scores = torch.cat([scores.masked_fill(~maps.seen[b, h, i], -torch.inf), sink])
                out[b, h, i] = scores.softmax(0).nan_to_num()[: len(row)] @ maps.v[b, h]
            case "outputs":
                out[b, h, i] = edit.outputs_of[b, h, q]
            case "gate":
                out[b, h, i] *= torch.sigmoid((call.x()[b, i] * edit.weight[:, h]).sum())
            case "sparse":
                whole = max(0, q + 1 - edit.window) // edit.block
                scores, values = [], []
                for keys in [range(n * edit.block, (n + 1) * edit.block) for n in range(whole)] + [
                    range(k, k + 1) for k in range(whole * edit.block, q + 1)
                ]:
                    real = [k for k in keys if kpos[k] >= 0]
                    if real:
                        kv = h // call.op.groups
                        key, value = call.k[b, kv, real].mean(0), call.v[b, kv, real].mean(0)
                        s = call.op.scale * call.q[b, h, i] @ key
                        s = s if call.op.softcap is None else call.op.softcap * (s / call.op.softcap).tanh()
                        scores.append(s + log(len(real)))
                        values.append(value)
                out[b, h, i] = torch.stack(scores).softmax(0) @ torch.stack(values) if scores else 0.0
    return out


@pytest.mark.parametrize("kind", ["grouped", "causal", "cached", "softcap", "sink"])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_what_the_method_says(name: str, kind: str) -> None:
    """On the whole map, and by the oracle; of all heads and rows, and of some."""
    call = hard_call(kind)
    edit = examples(call)[name]
    expected = by_map(name, edit, exact(call))
    got = output(call, edit)
    assert draws.deviation(got, expected) <= draws.TOLERANCE[torch.float64]
    assert draws.deviation(got, truth(call, edit).out) <= draws.TOLERANCE[torch.float64]
    changed = (got - call.host()).abs().amax(-1) > 1e-6
    assert changed.any(-1).any(0).all()  # in every head


@pytest.mark.parametrize("kind", ["grouped", "cached", "sink"])
@pytest.mark.parametrize("other", NAMES)
@pytest.mark.parametrize("name", NAMES)
def test_two_of_them_are_the_oracle_in_both_orders(name: str, other: str, kind: str) -> None:
    call = hard_call(kind)
    some = examples(call)
    one, two = some[name], replace(some[other], phase="decode")
    if name == "sparse" and other == "sparse":
        return
    for pair in ((one, two), (two, one)):
        if "sparse" in (name, other) and {one.stage, two.stage} & {"scores", "weights"}:
            # It attends by itself and would drop what the other does to scores and weights: refused where they meet.
            with pytest.raises(ValueError, match="such edits do not compose"):
                output(call, *(replace(edit, phase="both") for edit in pair))
            continue
        assert draws.deviation(output(call, *pair), truth(call, *pair).out) <= draws.TOLERANCE[torch.float64]


@pytest.mark.parametrize("name", NAMES)
def test_beside_edits_of_the_library(name: str) -> None:
    for kind in ("grouped", "causal", "cached", "softcap"):
        call = hard_call(kind)
        heads = [(0, 0), (0, call.op.heads - 1)]
        others = [
            regard.BiasKeys("odd", 1.0, heads=heads),
            regard.Redistribute("odd", "even", 0.3, since=("prompt_end", -1)),
            regard.ScaleHeads(heads, -0.5, examples=[0]),
        ]
        for some in ([*others, examples(call)[name]], [examples(call)[name], *others]):
            if name == "sparse":
                some = [edit for edit in some if edit.stage == "outputs"]
            assert draws.deviation(output(call, *some), truth(call, *some).out) <= draws.TOLERANCE[torch.float64]


def test_the_running_sums_are_those_of_all_passes() -> None:
    """By the written rule: a pass in which rows come knows the sums of all rows up to its end."""
    call = exact(hard_call("grouped"))
    edit = CalibrateSinks(1.2, 0.4)
    a = dense.maps(call.op).weights
    for start, stop in ((0, 6), (6, 7), (7, 9), (9, call.op.q_len)):
        op = replace(call.op.select(None, slice(start, stop)))
        op = replace(op, k=op.k[:, :, :stop], v=op.v[:, :, :stop], mask=op.mask.narrow((0, stop)))
        host = dense.maps(op).out
        part = replace(
            call,
            op=op,
            qpos=call.qpos[:, start:stop],
            kpos=call.kpos[:, :stop],
            q_index=start,
            host=lambda host=host: host,
        )
        got = edited(part, [edit])[0].output(part.host)
        rows = a[:, :, :stop, :stop] * call.live.expand(a.shape[:3])[:, :, :stop, None]
        received = rows.sum(2)
        real = part.kpos >= 0
        sinks = received > 1.2 * received.sum(-1, keepdim=True) / real.sum(-1)[:, None, None].clamp_min(1)
        sinks &= (part.kpos > 0)[:, None]
        new = a[:, :, start:stop, :stop] * (1 - 0.6 * sinks.double())[:, :, None]
        mass = new.sum(-1, keepdim=True)
        new = torch.where(mass > 0, new / mass, new)
        expected = new @ call.v[:, :, :stop].repeat_interleave(call.op.groups, 1)
        assert draws.deviation(got, expected) <= draws.TOLERANCE[torch.float64]
        assert start == 0 or sinks.any()


@pytest.mark.parametrize("name", NAMES)
def test_it_is_the_same_from_a_file(name: str, tmp_path: Path) -> None:
    call = hard_call("cached")
    edit = examples(call)[name]
    regard.save_edits([edit], tmp_path / "edits.json")
    (loaded,) = regard.load_edits(tmp_path / "edits.json")
    assert type(loaded) is type(edit) and torch.equal(output(call, loaded), output(call, edit))


PROMPT, NEW = 7, 5


@cache
def lens() -> regard.Lens:
    return regard.attach(LLAMA.build())


def prompts(seed: int = 1) -> dict[str, Tensor]:
    """Two prompts, one of them with three tokens of padding on the left."""
    ids = torch.randint(3, 60, (2, PROMPT), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    return {"input_ids": ids, "attention_mask": mask}


def placed(x: dict[str, Tensor]) -> dict[str, Tensor]:
    """With positions counted without padding, as `generate` does: queries of another run are rotated by theirs."""
    return {**x, "position_ids": (x["attention_mask"].cumsum(-1) - 1).clamp_min(0)}


def generated(*edits: BaseEdit, **options: Any) -> tuple[dict[str, Tensor], Tensor]:
    """Generate five tokens; return all that the model was given, and the logits of each [batch, token, vocabulary]."""
    x = prompts()
    options = {"do_sample": False, "max_new_tokens": NEW, "min_new_tokens": NEW, "pad_token_id": 0, **options}
    model: Any = lens().model
    with lens().edit(*edits):
        found = model.generate(**x, return_dict_in_generate=True, output_logits=True, **options)
    ids = found.sequences[:, :-1]
    mask = x["attention_mask"].repeat_interleave(len(ids) // 2, 0)
    mask = torch.cat([mask, torch.ones(len(ids), NEW - 1, dtype=torch.long)], 1)
    return {"input_ids": ids, "attention_mask": mask}, torch.stack(found.logits, 1)


def recomputed(x: dict[str, Tensor], *edits: BaseEdit) -> Tensor:
    """The logits of the last five tokens in one pass."""
    model: Any = lens().model
    x = placed(x)
    with lens().edit(*edits), torch.no_grad():
        logits: Tensor = model(**x).logits
    return logits[:, -NEW:]


def on_a_model() -> dict[str, tuple[BaseEdit, BaseEdit]]:
    """Each edit, and the same for one pass over the prompt and four tokens, which then all are prompt."""
    other = lens().cache(placed(prompts(seed=9)), ["q.1", "z.1"])
    pairs = [(1, head) for head in range(4)]
    redistribute = GatedRedistribute("first", "rest", 0.7, 0.3)
    redirect = Redirect("first", 2.0, heads=[(0, 1), (2, 2)], since=("prompt_end", -1))
    gate, sparse = Gate(numbers(32, 4).float(), layers=(1,)), WindowAndPools(3, 2)
    return {
        "redistribution": (redistribute, redistribute),
        "redirection": (redirect, replace(redirect, since=("prompt_end", -NEW))),
        "queries": (
            FromAnotherRun(other["q.1"], layers=(1,), phase="prefill"),
            regard.PatchQueries(pairs, other["q.1"]),
        ),
        "outputs": (
            OutputsFromAnotherRun(other["z.1"], layers=(1,), phase="prefill"),
            regard.PatchHeads(pairs, other["z.1"]),
        ),
        "gate": (gate, gate),
        "sparse": (sparse, sparse),
    }


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside others"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "calibration"])
def test_a_model_generates_as_it_recomputes(name: str, beside: bool) -> None:
    edit, whole = on_a_model()[name]
    others = [regard.BiasKeys("first", -1.0, layers=(0,)), regard.ScaleHeads([(0, 0), (2, 3)], 0.5)] if beside else []
    if name == "sparse":
        others = others[1:]
    x, logits = generated(edit, *others)
    torch.testing.assert_close(logits, recomputed(x, whole, *others), atol=1e-4, rtol=1e-4)
    assert (logits - recomputed(x, *others)).abs().amax((0, 2)).min() > 1e-2


def test_a_gate_is_one_before_the_output_projection() -> None:
    """Written as hooks on a module that attends."""
    edit, _ = on_a_model()["gate"]
    assert isinstance(edit, Gate)
    x, _ = generated()
    module: Any = lens().model.get_submodule("model.layers.1.self_attn")
    given: list[Tensor] = []
    hooks = [
        module.register_forward_pre_hook(
            lambda module, args, kwargs: given.append(kwargs["hidden_states"]), with_kwargs=True
        ),
        module.o_proj.register_forward_pre_hook(
            lambda module, args: args[0] * torch.sigmoid(given[-1] @ edit.weight).repeat_interleave(8, -1)
        ),
    ]
    expected = recomputed(x)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(recomputed(x, edit), expected, atol=1e-5, rtol=1e-5)
    assert (expected - recomputed(x)).abs().max() > 1e-2


@pytest.mark.parametrize("beams", [1, 3])
def test_running_sums_follow_a_generation(beams: int) -> None:
    """Of each beam the sums of its own rows, prompt and decoded: those of the whole text, at the first layer."""
    edit = CalibrateSinks(1.2, 0.4, layers=(0,))
    x, logits = generated(edit, num_beams=beams, num_return_sequences=beams)
    assert len(edit.sums) == NEW
    received = edit.sums[-1]
    a = lens().weights(x, 0)
    expected = (a * x["attention_mask"][:, None, :, None]).sum(2)
    assert received.shape == expected.shape == (2 * beams, 4, PROMPT + NEW - 1)
    for row, sums in enumerate(expected):
        ours = received[row // beams * beams :][:beams]  # rows are those of the beams as they stood at the last pass
        assert (ours - sums).abs().amax((1, 2)).min() < 1e-5
    if beams == 3:
        assert (expected[0] - expected[1]).abs().max() > 1e-2
    else:
        assert (logits - recomputed(x)).abs().amax((0, 2)).min() > 1e-2
