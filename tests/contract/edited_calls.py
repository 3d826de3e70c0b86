"""Calls with named tokens and a prompt, and what edits make of them: by the planner, and by the oracle."""

from dataclasses import replace

import torch
from contract.batches import Kind, batch, double
from contract.oracle import oracle
from torch import Tensor

from regard.core import dense
from regard.core.call import Call
from regard.core.planner import edited
from regard.core.session import Session
from regard.edit import BaseEdit


class Named:
    """Tokens by position: `even` and `odd` ones, the first five (`start`), and none."""

    def keys(self, name: str, call: Call) -> Tensor:
        real = call.kpos >= 0
        return {
            "even": real & (call.kpos % 2 == 0),
            "odd": real & (call.kpos % 2 == 1),
            "start": real & (call.kpos < 5),
            "nothing": torch.zeros_like(real),
        }[name]


def call_of(kind: Kind) -> Call:
    """Make a batch with named tokens, of which the last five are behind the prompt."""
    return with_tokens(batch(kind))


def with_tokens(call: Call) -> Call:
    tokens = call.q_index + call.op.q_len
    return replace(call, session=Session(prompt=max(0, tokens - 5), segments=Named()))


def role_of(edit: BaseEdit, call: Call) -> BaseEdit:
    return replace(edit, role=call.site.role)


def output(call: Call, *some: BaseEdit) -> Tensor:
    """What the planner makes of edits, each on the role of the call, in a run of its own."""
    call = replace(call, session=replace(call.session, states={}))
    return edited(call, [role_of(edit, call) for edit in some])[0].output(call.host)


def truth(call: Call, *some: BaseEdit) -> dense.Maps:
    return oracle(exact(call), *(role_of(edit, call) for edit in some))


def exact(call: Call) -> Call:
    """The same numbers in float64, with the oracle's own output for the host's."""
    call = double(call)
    return replace(call, host=lambda: dense.maps(call.op).out)
