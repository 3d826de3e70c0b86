"""Every site is live: a change there moves the output."""

from collections.abc import Mapping
from itertools import count
from typing import Any

from torch import Tensor, nn

from ...core.call import Call, Site
from ...lens import Lens
from ...lens.outputs import tensors
from ..finding import Finding
from ..passes import apart, run, watch

NAME = "every site is live"


def check(model: nn.Module, lens: Lens, x: Mapping[str, Any]) -> Finding:
    """Halve the attention output of one site after the other."""
    plain = tensors(run(model, x))
    sites: dict[Site, None] = {}

    def note(call: Call) -> Tensor | None:
        sites[call.site] = None
        return None

    watch(model, x, note)
    if not sites:
        return Finding(NAME, "failed", None, "no attention was heard")
    dead: list[Site] = []
    unused: list[Site] = []
    least = float("inf")
    for site in sites:
        moved = apart(tensors(watch(model, x, _halving(site))), plain)
        if moved > 0:
            least = min(least, moved)
        else:
            used = apart(_without(model, x, site), plain) > 0
            (dead if used else unused).append(site)
    if dead:
        said = (
            f"halving {', '.join(map(str, dead[:3]))} does not move the output: what is heard there is not what is used"
        )
        return Finding(NAME, "failed", None, f"{len(dead)} of {len(sites)} sites are dead; {said}")
    if len(unused) == len(sites):
        said = "no site moves the output, with or without the lens: the output shows nothing of what attention does"
        return Finding(NAME, "failed", None, said)
    said = f"halving any of {len(sites) - len(unused)} sites moves the output, by {least:.1g} of its size or more"
    if unused:
        names = ", ".join(map(str, unused[:3]))
        said += f"; {len(unused)} feed nothing in this model itself ({names})"
    return Finding(NAME, "ok", None, said)


def _halving(chosen: Site) -> Any:
    def halve(call: Call) -> Tensor | None:
        return call.host() * 0.5 if call.site == chosen else None

    return halve


def _without(model: nn.Module, x: Mapping[str, Any], site: Site) -> list[Tensor]:
    """Run the model with what the site's module returns in that use of it halved: by torch's own hook, no lens involved."""
    uses = count()

    def halve(module: nn.Module, args: Any, output: Any) -> Any:
        if next(uses) != site.use:
            return output
        if isinstance(output, tuple):
            return (output[0] * 0.5, *output[1:])
        return output * 0.5 if isinstance(output, Tensor) else output

    handle = model.get_submodule(site.path).register_forward_hook(halve)
    try:
        return tensors(run(model, x))
    finally:
        handle.remove()
