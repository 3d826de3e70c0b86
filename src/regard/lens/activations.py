"""Named activations: the residual stream around blocks, and queries, keys, values and head outputs of attention."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..core.call import Call
from ..core.patchwork import Patchwork

OF_CALLS: dict[str, Callable[[Call, Patchwork], Tensor]] = {
    "q": lambda call, patchwork: call.q,
    "k": lambda call, patchwork: call.k,
    "v": lambda call, patchwork: call.v,
    "z": lambda call, patchwork: patchwork.output(call.host),
}
OF_BLOCKS = ("resid_pre", "resid_post", "attn_out", "mlp_out")
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
    model: nn.Module, attention: dict[int, str], wanted: dict[int, list[str]], found: dict[str, Tensor]
) -> Iterator[None]:
    """Read activations around the blocks that hold the attention modules at these paths, by layer."""
    with ExitStack() as stack:
        for layer, kinds in wanted.items():
            if layer not in attention:
                raise ValueError(f"there is no layer {layer}; there are {sorted(attention)}")
            block, path = _block(model, attention[layer])
            for kind in kinds:
                stack.callback(_read(block, path, kind, f"{kind}.{layer}", found).remove)
        yield


def _block(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    """Return the block around an attention module, an entry of a list of modules, and the module's path inside it."""
    pieces = path.split(".")
    for end in range(len(pieces), 0, -1):
        if pieces[end - 1].isdigit() and isinstance(model.get_submodule(".".join(pieces[: end - 1])), nn.ModuleList):
            return model.get_submodule(".".join(pieces[:end])), ".".join(pieces[end:])
    raise ValueError(f"{path} stands in no list of blocks, so there is no residual stream around it to read")


def _read(block: nn.Module, attention: str, kind: str, name: str, found: dict[str, Tensor]) -> Any:
    if kind == "resid_pre":

        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            found[name] = next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)).detach()

        return block.register_forward_pre_hook(before, with_kwargs=True)

    def after(module: nn.Module, args: Any, output: Any) -> None:
        found[name] = (output if isinstance(output, Tensor) else output[0]).detach()

    if kind == "resid_post":
        return block.register_forward_hook(after)
    if kind == "attn_out":
        return block.get_submodule(attention.partition(".")[0] or attention).register_forward_hook(after)
    feed = next((child for child_name, child in block.named_children() if _MLP.match(child_name)), None)
    if feed is None:
        children = ", ".join(child_name for child_name, _ in block.named_children())
        raise ValueError(f"no feed-forward module is recognised in {type(block).__name__}; its modules are {children}")
    return feed.register_forward_hook(after)
