"""Named activations: the residual stream around blocks, feed-forward layers, and attention's queries, keys, values, outputs."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..core.call import Call
from ..core.patchwork import Patchwork
from ..hosts.blocks import block_of

OF_CALLS: dict[str, Callable[[Call, Patchwork], Tensor]] = {
    "q": lambda call, patchwork: call.q,
    "k": lambda call, patchwork: call.k,
    "v": lambda call, patchwork: call.v,
    "z": lambda call, patchwork: patchwork.output(call.host),
}
OF_BLOCKS = ("resid_pre", "resid_post", "attn_out", "mlp_in", "mlp_mid", "mlp_out")
_MLP = re.compile(
    r"^(mlp|ffn|feed_forward|feedforward|ff|layer\.\d+\.densereludense|block_sparse_moe|moe)$", re.IGNORECASE
)


@dataclass(frozen=True)
class Wanted:
    """Which activations of which layer, by the names that they were asked for."""

    calls: dict[int, list[str]] = field(default_factory=dict)
    blocks: dict[int, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, names: Sequence[str]) -> "Wanted":
        """Read names such as "z.14"; raises ValueError with the kinds there are."""
        wanted = cls()
        for name in names:
            kind, _, layer = name.partition(".")
            if kind not in (*OF_CALLS, *OF_BLOCKS) or not layer.isdigit():
                kinds = ", ".join((*OF_CALLS, *OF_BLOCKS))
                raise ValueError(f"there is no activation {name!r}; give KIND.LAYER, where the kinds are {kinds}")
            table = wanted.calls if kind in OF_CALLS else wanted.blocks
            table.setdefault(int(layer), []).append(kind)
        return wanted


@contextmanager
def blocks_read(
    model: nn.Module,
    attention: dict[int, tuple[str, int]],
    wanted: dict[int, list[str]],
    keep: Callable[[str, Tensor], None],
) -> Iterator[None]:
    """Read activations around the blocks that hold attention modules: by layer, the module's path and which use of it.

    `keep` is handed each as it comes by, with its name.
    """
    with ExitStack() as stack:
        for layer, kinds in wanted.items():
            if layer not in attention:
                raise ValueError(f"there is no layer {layer}; there are {sorted(attention)}")
            path, use = attention[layer]
            block, inside = block_of(model, path)
            for kind in kinds:
                stack.callback(_read(block, inside, kind, _Slot(f"{kind}.{layer}", use, keep)).remove)
        yield


@dataclass
class _Slot:
    """Where one activation goes: that of the given use of a module, which may serve several layers."""

    name: str
    use: int
    keep: Callable[[str, Tensor], None]
    uses: int = 0

    def put(self, tensor: Tensor) -> None:
        if self.uses == self.use:
            self.keep(self.name, tensor.detach())
        self.uses += 1


def _read(block: nn.Module, attention: str, kind: str, slot: _Slot) -> Any:
    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        slot.put(next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)))

    if kind == "resid_pre":
        return block.register_forward_pre_hook(before, with_kwargs=True)

    def after(module: nn.Module, args: Any, output: Any) -> None:
        slot.put(output if isinstance(output, Tensor) else output[0])

    if kind == "resid_post":
        return block.register_forward_hook(after)
    if kind == "attn_out":
        whole = block.get_submodule(attention.partition(".")[0])
        return (block.get_submodule(attention) if isinstance(whole, nn.ModuleList) else whole).register_forward_hook(
            after
        )
    feed = feed_forward(block)
    if kind == "mlp_out":
        return feed.register_forward_hook(after)
    return (feed if kind == "mlp_in" else _last(feed)).register_forward_pre_hook(before, with_kwargs=True)


def feed_forward(block: nn.Module) -> nn.Module:
    """Return the feed-forward module of a block; raises ValueError where none is recognised."""
    feed = next((child for name, child in block.named_children() if _MLP.match(name)), None)
    if feed is None:
        children = ", ".join(name for name, _ in block.named_children())
        raise ValueError(f"no feed-forward module is recognised in {type(block).__name__}; its modules are {children}")
    return feed


def _last(feed: nn.Module) -> nn.Module:
    """Return the projection by which a feed-forward module ends; raises ValueError for a mixture of experts."""
    linear = [child for child in feed.children() if getattr(getattr(child, "weight", None), "ndim", 0) == 2]
    if len(linear) < 2:
        raise ValueError(f"{type(feed).__name__} has no one projection at its end, as a mixture of experts has none")
    return linear[-1]
