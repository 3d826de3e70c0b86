"""Changing what a feed-forward layer writes, token by token, in prefill and decoding: how sinks are planted and taken out."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ..core.call import Call, Site
from ..core.effects import Effect, Out, Stage
from ..core.protocols import Causality, Terms
from ..core.where import Where
from ..hosts.blocks import block_of
from ..measure import QueryCount
from .activations import feed_forward

if TYPE_CHECKING:
    from .lens import Lens

Change = Callable[[Tensor, Tensor], Tensor]
"""From outputs [batch, token, width] and the tokens' positions in the run [batch, token], -1 for padding, to outputs."""


@contextmanager
def mlp_changed(lens: "Lens", layer: int, change: Change, x: Any) -> Iterator[None]:
    """Change the output of a layer's feed-forward module while the context lasts, `model.generate` included.

    `x` are inputs by which the layer is found. Raises ValueError for a layer that there is not, and for one without a
    feed-forward module.
    """
    sites = {site.layer: site for site in lens.measure(x, [QueryCount()]).sites}
    if layer not in sites:
        raise ValueError(f"there is no layer {layer}; there are {sorted(sites)}")
    block, _ = block_of(lens.model, sites[layer].path)
    noted = _Positions(sites[layer])

    def changed(module: nn.Module, args: Any, output: Any) -> Any:
        assert noted.qpos is not None  # attention comes before it in every block
        y = output if isinstance(output, Tensor) else output[0]
        new = change(y.view(*noted.qpos.shape, -1), noted.qpos).view_as(y).to(y.dtype)
        return new if isinstance(output, Tensor) else (new, *output[1:])

    with lens.edit(noted):
        handle = feed_forward(block).register_forward_hook(changed)
        try:
            yield
        finally:
            handle.remove()


def add_to_token(vector: Tensor, position: int) -> Change:
    """Return the change that adds a vector [width] to the output at one position."""

    def change(y: Tensor, positions: Tensor) -> Tensor:
        return y + torch.where((positions == position)[..., None], vector.to(y), 0.0)

    return change


def shrink_along(direction: Tensor, norm: float, cosine: float = 0.98, spared: int = 3) -> Change:
    """Return the change that gives outputs along a direction [width] this norm: it takes sinks out where they are formed.

    Along means a cosine above `cosine`; the first `spared` positions keep theirs. Source: the code of arXiv 2512.22213, whose
    norm is 100. Raises ValueError for a norm below 0 and a direction without length.
    """
    if norm < 0 or not float(direction.norm()) > 0:
        raise ValueError(f"outputs along a direction are given a norm of 0 or more, not {norm}, and it needs a length")

    def change(y: Tensor, positions: Tensor) -> Tensor:
        exact = y.float()
        length = exact.norm(dim=-1, keepdim=True)
        unit = torch.nn.functional.normalize(direction.to(exact), dim=0)
        along = (exact @ unit)[..., None] > cosine * length
        chosen = along & (positions >= spared)[..., None]
        return torch.where(chosen, exact * (norm / length), exact).to(y.dtype)

    return change


@dataclass(eq=False)
class _Positions:
    """An edit that changes nothing, and notes the positions of each pass where the site is used."""

    site: Site
    qpos: Tensor | None = None
    stage: ClassVar[Stage] = "outputs"
    causality: ClassVar[Causality] = "row"

    @property
    def where(self) -> Where:
        """The layer of the site."""
        return Where(layers=(self.site.layer,), part=self.site.part)

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        """Note the positions."""
        yield {}
        self.qpos = call.qpos
        return Out(1.0)
