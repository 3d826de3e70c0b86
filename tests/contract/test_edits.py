"""What every edit has to keep to, run over all that `regard.edit` knows; on calls. Models are in `test_edits_of_models.py`."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from contract.batches import KINDS, Kind, kinds, single
from contract.edit_cases import CASES, Case, Ground, Own
from contract.edited_calls import call_of, exact, output, role_of, truth, with_tokens
from contract.oracle import oracle
from core import strategies as draws
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

import regard
from regard import edit as edits
from regard.core import blockwise, dense
from regard.core.attend import attend
from regard.core.call import Call
from regard.core.planner import edited
from regard.core.terms import Attend, Term
from regard.edit import BaseEdit

EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
NEUTRAL = pytest.mark.parametrize("case", [case for case in CASES if case.neutral], ids=lambda case: case.name)
BLOCKS = st.sampled_from([1, 500, blockwise.BLOCK_ELEMENTS])
NARROWED: dict[str, dict[str, Any]] = {
    "one head": {"heads": [(0, 1)]},
    "two heads": {"heads": [(0, 3), (0, 0)]},
    "other layer": {"layers": [1]},
    "prefill": {"phase": "prefill"},
    "decode": {"phase": "decode"},
    "last": {"queries": "last"},
    "odd queries": {"queries": "odd"},
    "since prompt": {"since": ("prompt_end", -1)},
    "since a segment": {"since": ("start", 0)},
    "examples": {"examples": [2, 0]},
    "all at once": {"heads": [(0, 2), (0, 3)], "examples": [1], "queries": "odd", "phase": "prefill"},
}


def ground(call: Call, heads: int | None = None, seed: int = 0) -> Ground:
    """Every second head of the call, from the last on, in an order that is not ascending."""
    chosen = list(range(call.op.heads))[::-2] if heads is None else list(range(heads))
    pairs = tuple((0, head) for head in chosen)
    sizes = call.op.batch, call.q_index + call.op.q_len, call.q.shape[-1], call.v.shape[-1]
    return Ground(pairs, "even", "odd", *sizes, seed=seed)


def fits(case: Case, kind: Kind) -> bool:
    """Whether the edit is one of such a call: the queries of cross-attention cannot attend to themselves."""
    return kind.role == "self" or case.name != "Interpolate identity"


def test_every_edit_has_an_example() -> None:
    known = {kind for kind in edits.kinds().values() if kind.__module__.startswith("regard.")}
    call = call_of(KINDS["grouped"])
    # Calls of the contract have no residual stream to find visual sinks in: `test_visual_sinks.py` has it on models.
    assert {type(case.strong(ground(call))) for case in CASES} == known - {edits.RedistributeVisualSinks}


def test_every_edit_is_public() -> None:
    known = {name for name, kind in edits.kinds().items() if kind.__module__.startswith("regard.")}
    assert known <= set(edits.__all__) and known <= set(regard.__all__)


def test_every_edit_declares_what_can_be_checked() -> None:
    """All depend on their row alone; one that does not needs a test of its written rule, as `ActSum` in `test_proofs.py`."""
    call = call_of(KINDS["grouped"])
    assert {case.strong(ground(call)).causality for case in CASES} == {"row"}


def test_the_calls_are_hard_enough() -> None:
    """Padding, queries that see no key, a prompt that ends among the queries; every edit changes some rows and not all heads."""
    call = call_of(KINDS["table"])
    assert (call.qpos < 0).any() and (~call.live & (call.qpos >= 0)[:, None]).any()
    assert 0 < call.session.prompt - call.q_index < call.op.q_len
    for case in CASES:
        edit = case.strong(ground(call))
        changed = (output(call, edit) != call.host()).any(-1)
        assert changed.any() and not changed.all()


@NEUTRAL
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@settings(max_examples=8)
@given(kind=kinds())
def test_neutral_is_bit_equal(case: Case, dtype: torch.dtype, kind: Kind) -> None:
    """Even where the host's output is not what any kernel of ours would give."""
    assume(fits(case, kind))
    call = call_of(replace(kind, dtype=dtype))
    generator = torch.Generator().manual_seed(kind.seed)
    host = torch.randn(call.op.batch, call.op.heads, call.op.q_len, call.v.shape[-1], generator=generator).to(dtype)
    call = replace(call, host=lambda: host)
    g = ground(call)
    heads = [head for _, head in g.pairs]
    pad = (0, 0, call.q_index, 0)
    q, out = (torch.nn.functional.pad(t[:, heads], pad) for t in (call.q, host))
    assert case.neutral is not None
    assert torch.equal(output(call, case.neutral(g, Own(q, out))), host)


@EVERY
@settings(max_examples=12)
@given(kind=kinds(), block=BLOCKS)
def test_its_outputs_are_those_of_its_weights(case: Case, kind: Kind, block: int) -> None:
    assume(fits(case, kind))
    call = call_of(kind)
    edit = case.strong(ground(call, seed=kind.seed))
    with patch.object(blockwise, "BLOCK_ELEMENTS", block):
        assert draws.deviation(output(call, edit), truth(call, edit).out) <= draws.TOLERANCE[torch.float64]


@EVERY
@pytest.mark.parametrize("name", [name for name in KINDS if name != "cross"])
def test_in_every_dtype(case: Case, name: str) -> None:
    """float32 to its rounding over sums of some dozen weights; the scores of padded queries are fifty times too large for that.

    In bfloat16 a kernel rounds weights and outputs, and an edit rounds what it gives: four roundings of half of 2^-7 at most,
    counted with the operands that an edit may give, of the largest number about.
    """
    for dtype in (torch.float32, torch.bfloat16):
        call = call_of(replace(KINDS[name], dtype=dtype))
        edit = case.strong(ground(call))
        got, expected = output(call, edit), truth(call, edit).out
        assert got.dtype == dtype
        got, expected = (tensor.transpose(1, 2)[call.qpos >= 0] for tensor in (got, expected))
        if dtype == torch.float32:
            assert draws.deviation(got, expected) <= draws.TOLERANCE[dtype]
        else:
            largest = torch.maximum(expected.abs().max(), call.v.double().abs().max())
            assert (got.double() - expected).abs().max() <= 4 * 2**-8 * largest


@EVERY
@settings(max_examples=10)
@given(kind=kinds(), data=st.data())
def test_terms_asked_after_it_are_of_what_it_left(case: Case, kind: Kind, data: st.DataObject) -> None:
    assume(fits(case, kind))
    call = call_of(kind)
    edit = role_of(case.strong(ground(call, seed=kind.seed)), call)
    asked: list[Term] = data.draw(draws.terms(call.op))[: data.draw(st.integers(1, 11))]
    other = Attend(call.k, call.v, call.op.mask)
    with patch.object(blockwise, "BLOCK_ELEMENTS", data.draw(BLOCKS)):
        patchwork, _ = edited(call, [edit])
        maps = truth(call, edit)
        draws.agree(patchwork.answer(asked), maps, asked, torch.float64)
        for got, expected in zip(patchwork.answer([other])[0], dense.answer(maps, other), strict=True):
            assert draws.deviation(got, expected) <= draws.TOLERANCE[torch.float64]


@EVERY
@pytest.mark.parametrize("name", ["causal", "grouped", "window", "cached", "softcap", "sink", "extra keys"])
def test_a_batch_is_its_texts(case: Case, name: str) -> None:
    """Each text gives the same alone, without its padding."""
    kind = replace(KINDS[name], past=3) if name == "grouped" else KINDS[name]
    call = call_of(kind)
    edit = case.strong(ground(call))
    together = output(call, edit)
    for text in range(call.op.batch):
        real = call.qpos[text] >= 0
        if not real.any():
            continue
        alone = with_tokens(single(call, text))
        if case.alone is None:
            donor = edit.donors[text]  # type: ignore[attr-defined]
            for _, head in edit.heads or []:
                assert torch.equal(together[text, head], call.host()[donor, head])
            continue
        got = output(alone, case.alone(edit, text, call.kpos[text] >= 0))
        assert draws.deviation(got[0], together[text][:, real]) <= draws.TOLERANCE[torch.float64]


def said(call: Call, narrowed: dict[str, Any]) -> Tensor:
    """Which rows are meant, [batch, head, query], spelled out one by one."""
    meant = torch.zeros(call.op.batch, call.op.heads, call.op.q_len, dtype=torch.bool)
    for b, h, i in product(*map(range, meant.shape)):
        token, position, last = call.q_index + i, int(call.qpos[b, i]), int(call.qpos[b].max())
        prompt = call.session.prompt
        tests = {
            "heads": lambda heads, h=h: (0, h) in heads,
            "layers": lambda layers: 0 in layers,
            "examples": lambda examples, b=b: b in examples,
            "phase": lambda phase, t=token, p=prompt: (t < p) == (phase == "prefill"),
            "queries": lambda name, p=position, last=last: p >= 0 and (p == last if name == "last" else p % 2 == 1),
            "since": lambda mark, t=token, b=b, p=prompt: t >= (p if mark[0] == "prompt_end" else start(call, b)) + mark[1],
        }  # fmt: skip
        meant[b, h, i] = all(tests[name](value) for name, value in narrowed.items())
    return meant


def start(call: Call, text: int) -> int:
    """The place in the run behind the text's fifth token, or its last."""
    return max(place for place, position in enumerate(call.kpos[text].tolist()) if 0 <= position < 5) + 1


@pytest.mark.parametrize("name", ["causal", "grouped", "window", "cached"])
@pytest.mark.parametrize("where", NARROWED)
@EVERY
def test_only_the_rows_that_it_names_change(case: Case, where: str, name: str) -> None:
    """There it is what it is everywhere; all else stays the host's own, bit by bit, and what is told is what it names."""
    call = call_of(replace(KINDS[name], kv_heads=2, groups=2))
    narrowed = dict(NARROWED[where])
    g = ground(call, heads=4)
    everywhere = case.strong(replace(g, tokens=g.tokens + 2))  # values for all tokens, and more
    edit = replace(everywhere, **{name: value for name, value in narrowed.items() if name != "heads"})
    if "heads" in narrowed:
        edit = with_heads(edit, narrowed["heads"])
    meant = said(call, narrowed)
    told: list[tuple[int, int]] = []
    patchwork, applied = edited(call, [edit], lambda _, effect, met, rows: told.append((met.op.heads, rows)))
    out, host = patchwork.output(call.host), call.host()
    assert torch.equal(out[~meant], host[~meant])
    expected = torch.where(meant[..., None], output(call, everywhere), host)
    assert draws.deviation(out, expected) <= draws.TOLERANCE[torch.float64]
    assert applied == ({0} if meant.any() else set())
    rows = int(meant.any(1).any(0).sum())
    assert told == ([(int(meant.any(2).any(0).sum()), rows)] if rows else [])


def with_heads(edit: Any, pairs: list[tuple[int, int]]) -> BaseEdit:
    """Narrow an edit to some heads, with what it gives to each of them."""
    given = {"means": 0, "values": 1, "given": 1, "weights": 1, "chosen": 1}
    heads = torch.tensor([head for _, head in pairs])
    cut = {name: getattr(edit, name).index_select(axis, heads) for name, axis in given.items() if hasattr(edit, name)}
    return replace(edit, heads=pairs, **cut)


def test_all_pairs_are_run_by_stage_and_then_as_given() -> None:
    """In both orders, on different heads and rows."""
    for number, pair in enumerate(product(CASES, repeat=2)):
        compose(pair, number)


def test_some_triples() -> None:
    generator = torch.Generator().manual_seed(0)
    for number in range(150):
        chosen = torch.randint(len(CASES), (3,), generator=generator).tolist()
        compose([CASES[place] for place in chosen], number)


def compose(cases: Any, number: int) -> None:
    names = ["grouped", "causal", "window", "cached", "softcap", "sink", "extra keys", "both ways"]
    call = call_of(replace(KINDS[names[number % len(names)]], lengths=(4, 7), past=2 * (number % 2)))
    g = ground(call, seed=number)
    some = [case.strong(replace(g, seed=number + place)) for place, case in enumerate(cases)]
    if number % 3 == 1:
        some[0] = replace(some[0], since=("prompt_end", -2))
    if number % 3 == 2:
        some[-1] = replace(some[-1], examples=[1], queries="odd")
    off = draws.deviation(output(call, *some), truth(call, *some).out)
    assert off <= draws.TOLERANCE[torch.float64], f"{some} is off by {off:.1e}"


@EVERY
def test_it_is_the_same_from_a_file(case: Case, tmp_path: Path) -> None:
    call = call_of(KINDS["cached"])
    narrowed = {"phase": "prefill", "since": ("start", -1), "examples": (0, 2), "layers": (0, 2), "part": "main"}
    for edit in (case.strong(ground(call)), replace(case.strong(ground(call)), **narrowed)):
        edits.save_edits([edit, edit], tmp_path / "edits.json")
        loaded = edits.load_edits(tmp_path / "edits.json")
        assert len(loaded) == 2 and repr(loaded[0]) == repr(edit)
        assert torch.equal(output(call, loaded[1]), output(call, edit))


@EVERY
@pytest.mark.parametrize("name", ["grouped", "sink", "softcap"])
def test_gradients_flow_through_it(case: Case, name: str) -> None:
    """To queries, keys and values, and to what the edit gives."""
    call = call_of(replace(KINDS[name], lengths=(3, 5), kv_heads=1, groups=2))
    edit: Any = case.strong(ground(call))
    given = next((name for name in ("means", "values", "given", "weights", "factors") if hasattr(edit, name)), None)
    given = None if isinstance(getattr(edit, given or "", None), dict) else given
    inputs = [call.q, call.k, call.v, *([getattr(edit, given)] if given else [])]
    inputs = [tensor.clone().requires_grad_() for tensor in inputs]

    def of(q: Tensor, k: Tensor, v: Tensor, *values: Tensor) -> Tensor:
        op = replace(call.op, q=q, k=k, v=v)
        ours = replace(call, op=op, host=lambda: attend(op)[0])
        return output(ours, replace(edit, **({given: values[0]} if given else {})))

    assert torch.autograd.gradcheck(of, inputs, fast_mode=True)


def test_the_edits_before_are_what_an_edit_sees() -> None:
    """By hand, to the last digits of float64: keys biased, then a share of even ones moved to odd ones, then a head scaled."""
    call = exact(call_of(KINDS["grouped"]))
    some = [
        edits.ScaleHeads([(0, 1)], 0.3),
        edits.Redistribute("even", "odd", 0.3, heads=[(0, 1)]),
        edits.BiasKeys("odd", 0.3),
    ]
    even, odd = (call.keys(name)[:, None].double() for name in ("even", "odd"))
    scores = dense.maps(call.op).scores + 0.3 * odd[:, None]
    a = (scores - scores.amax(-1, keepdim=True).nan_to_num(neginf=0.0)).exp()
    a = (a / a.sum(-1, keepdim=True)).nan_to_num()
    biased, a = a, a[:, 1]
    there = (a * odd).sum(-1, keepdim=True)
    moved = 0.3 * (a * even).sum(-1, keepdim=True)
    new = torch.where(there > 0, a * (1 - 0.3 * even) + moved * a * odd / there.where(there > 0, 1.0), a)
    v = call.v.repeat_interleave(call.op.groups, 1)
    expected = biased @ v
    expected[:, 1] = 0.3 * new @ v[:, 1]
    assert draws.deviation(oracle(call, *some).out, expected) <= draws.TOLERANCE[torch.float64]
    assert draws.deviation(output(call, *some), expected) <= draws.TOLERANCE[torch.float64]
