"""What is read of each call is what the model computes there."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ...core import dense
from ...core.call import Call
from ...core.operands import Operands
from ...lens import Lens
from ..finding import Finding
from ..inputs import padded
from ..passes import apart, tolerance, watch

NAME = "attention is read exactly"


def check(model: nn.Module, lens: Lens, x: Mapping[str, Any]) -> Finding:
    """Compare the output of each call with softmax(q k^T) v of what was read, computed densely in float64."""
    off: dict[str, float] = {}
    limits: dict[str, float] = {}

    def see(call: Call) -> Tensor | None:
        host = call.host().double()
        dead = ~call.live.expand(host.shape[:3])[..., None]
        textbook = dense.maps(_double(call.op)).out
        here = apart([textbook.masked_fill(dead, 0.0)], [host.masked_fill(dead, 0.0)])
        off[str(call.site)] = max(here, off.get(str(call.site), 0.0))
        limits[str(call.site)] = tolerance(model, call.op.q.dtype)  # some models attend in fewer digits than they have
        return None

    for given in (x, padded(model, x)):
        if given is not None:
            watch(model, given, see)
    if not off:
        return Finding(NAME, "failed", None, "no attention was heard")
    worst = max(off, key=lambda site: off[site] / limits[site])
    if off[worst] <= limits[worst]:
        return Finding(
            NAME, "ok", off[worst], f"softmax(q k) v of what is read is the model's own output at {len(off)} sites"
        )
    wrong = sum(off[site] > limits[site] for site in off)
    return Finding(
        NAME,
        "failed",
        off[worst],
        f"at {wrong} of {len(off)} sites ({worst} most) the model computes something else than what is read",
    )


def _double(op: Operands) -> Operands:
    def up(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(torch.float64)

    return replace(op, q=op.q.double(), k=op.k.double(), v=op.v.double(), sink=up(op.sink), bias=up(op.bias))
