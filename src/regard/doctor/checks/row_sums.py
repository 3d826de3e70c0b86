"""The weights of each query add up to 1, with the share of a sink logit where there is one."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...core.call import Call, Site
from ...core.patchwork import Patchwork
from ...core.terms import Lse
from ...lens import Lens
from ..finding import Finding
from ..inputs import padded
from ..passes import tolerance, watch, weights

NAME = "rows add up"


def check(model: nn.Module, lens: Lens, x: Mapping[str, Any]) -> Finding:
    """Add up the weights of every query that is not padding."""
    sites: set[Site] = set()
    off: dict[Site, float] = {}
    shares: dict[Site, float] = {}

    def see(call: Call) -> Tensor | None:
        sites.add(call.site)
        whole = weights(call).double().sum(-1)
        live = call.live.expand_as(whole)
        sink = call.op.row_sink()
        if sink is not None:
            (lse,) = Patchwork.of(call.op, call.host).answer([Lse()])
            assert isinstance(lse, Tensor)
            share = (sink.double() - lse).exp()
            shares[call.site] = float(share[live].mean())
            whole = whole + share
        here = float((whole[live] - 1).abs().max().nan_to_num(nan=float("inf")))
        off[call.site] = max(here, off.get(call.site, 0.0))
        return None

    for given in (x, padded(model, x)):
        if given is not None:
            watch(model, given, see)
    if not off:
        return Finding(NAME, "failed", None, "no attention was heard")
    worst = max(off, key=lambda site: off[site])
    if off[worst] > tolerance(model):
        return Finding(NAME, "failed", off[worst], f"the weights of a query at {worst} do not add up to 1")
    said = "the weights of every query add up to 1"
    if shares:
        mean = sum(shares.values()) / len(shares)
        said = (
            f"at {len(shares)} of {len(sites)} sites sink logits take a share, {mean:.2f} in the mean; {said} with it"
        )
    return Finding(NAME, "ok", off[worst], said)
