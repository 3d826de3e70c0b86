"""Models that do with masks and softmaxes what others do not: what is read is what they compute, and that stays the same."""

from typing import Any

import pytest
from breadth.transformers_models import build
from torch import Tensor

import regard
from regard.core import dense
from regard.core.call import Call
from regard.doctor.inputs import short_inputs
from regard.doctor.passes import apart, run, watch
from regard.hosts.softmax import passed_over
from regard.lens.outputs import tensors

QUIRKS = {
    "bridgetower": "a mask of one row for all queries",
    "deepseek_v32": "all but selected keys masked, which one implementation only does itself",
    "deepseek_v4": "columns joined to the mask that eager attention adds",
    "ibert": "a softmax in a module of its own",
    "moonshine": "a flag that says causal where the model gets no mask",
    "paligemma": "a causal mask that sdpa leaves to a module which is not causal",
}


@pytest.mark.parametrize("family", QUIRKS, ids=lambda family: family)
def test_what_is_read_is_what_is_computed(family: str) -> None:
    built = build(family)
    x: dict[str, Any] = built.x or short_inputs(regard.attach(built.model, check=False))
    worst, calls = 0.0, 0

    def see(call: Call) -> Tensor | None:
        nonlocal worst, calls
        worst, calls = max(worst, apart([dense.maps(call.op).out], [call.host()])), calls + 1
        return None

    heard = tensors(watch(built.model, x, see))
    assert calls > 0 and worst < 1e-5
    assert apart(heard, tensors(run(built.model, x))) < 1e-5


def test_a_decoder_that_passes_the_flag_stays_causal() -> None:
    built = build("moonshine")
    lens = regard.attach(built.model, check=False)
    rows: list[Tensor] = []

    def see(call: Call) -> Tensor | None:
        if call.site.main and call.site.role == "self":
            rows.append(dense.maps(call.op).weights)
        return None

    watch(built.model, short_inputs(lens), see)
    assert rows and all(not bool(weights.triu(1).any()) for weights in rows)


def test_no_query_sees_keys_that_the_model_did_not_select() -> None:
    built = build("deepseek_v32")
    most: list[int] = []

    def see(call: Call) -> Tensor | None:
        most.append(int((dense.maps(call.op).weights > 0).sum(-1).max()))
        return None

    watch(built.model, short_inputs(regard.attach(built.model, check=False)), see)
    assert most == [4, 4]  # config.index_topk


def test_deformable_attention_is_passed_over_and_told() -> None:
    built = build("deformable_detr")
    lens = regard.attach(built.model, check=False)
    assert lens.doctor(short_inputs(lens))["attention is read exactly"].verdict == "ok"
    deformable = [m for m in built.model.modules() if hasattr(m, "sampling_offsets")]
    assert passed_over(deformable[0]) in lens.notes


def test_an_encoder_of_a_longer_name_is_no_decoder() -> None:
    built = build("seamless_m4t")
    lens = regard.attach(built.model, check=False)
    found = lens.doctor(short_inputs(lens))
    assert {site.part for site in found.sites} == {"encoder", "decoder"}
    assert found["no weight on the future"].verdict == "ok"
