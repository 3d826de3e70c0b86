"""Tensor parallelism: each process computes some of the heads. They are gathered, so that a call has all of them in each."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ..core.mask import Mask
from ..core.operands import Operands
from .refuse import Refusal
from .shapes import told_heads

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


@dataclass(frozen=True)
class Share:
    """One process's share of the heads of a module, those of its place on one axis of a mesh of processes."""

    mesh: "DeviceMesh"
    axis: int

    @classmethod
    def of(cls, module: nn.Module) -> "Share | None":
        """Return how a module's weights are divided over processes; None where they are not."""
        if "torch.distributed.tensor" not in sys.modules:
            return None
        return next((one for one in map(_share, module.parameters()) if one is not None), None)

    def divides(self, module: nn.Module, op: Operands, tier: str) -> bool:
        """Say whether a call of the module has this process's heads only.

        Raises ValueError for heads that are divided in a way that cannot be put together again.
        """
        told = told_heads(module)
        if told is None or op.heads == told:
            return False
        size = self.mesh.size(self.axis)
        told_kv = getattr(getattr(module, "config", None), "num_key_value_heads", None) or told
        if tier not in ("interface", "sdpa") or (op.heads * size, op.k.shape[1] * size) != (told, told_kv):
            raise Refusal(
                f"{type(module).__name__} attends with {op.heads} of {told} heads and {op.k.shape[1]} of {told_kv} key-value "
                f"heads in each of {size} processes, which regard cannot put together: spread the model by device_map rather "
                "than tp_plan"
            )
        return True

    def whole(self, op: Operands) -> Operands:
        """Gather a call's heads from all processes."""
        heads = op.heads
        bias, sink = op.bias, op.sink
        if bias is not None and bias.shape[1] == heads:
            bias = self._gathered(bias)
        if sink is not None:
            sink = self._gathered(sink, sink.ndim > 1)
        mask = _whole_mask(op.mask, heads, self._gathered)
        return replace(
            op, q=self._gathered(op.q), k=self._gathered(op.k), v=self._gathered(op.v), mask=mask, bias=bias, sink=sink
        )

    def host(self, host: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Let a host's own output be that of all heads."""
        return lambda: self._gathered(host())

    def own(self, output: Tensor) -> Tensor:
        """Return this process's heads of an output."""
        return output.chunk(self.mesh.size(self.axis), 1)[self.mesh.get_local_rank(self.axis)]

    def _gathered(self, tensor: Tensor, axis: int = 1) -> Tensor:
        from torch.distributed.tensor import DTensor, Replicate, Shard

        if isinstance(tensor, DTensor):
            return tensor.full_tensor()
        # Backward, a process keeps what concerns its own heads of its own gradient: heads do not meet before the output.
        places = [Shard(axis) if one == self.axis else Replicate() for one in range(self.mesh.ndim)]
        return DTensor.from_local(tensor.contiguous(), self.mesh, places, run_check=False).full_tensor()


def _share(parameter: Any) -> Share | None:
    from torch.distributed.tensor import DTensor

    if not isinstance(parameter, DTensor):
        return None
    mesh = parameter.device_mesh
    axes = [axis for axis, place in enumerate(parameter.placements) if place.is_shard() and mesh.size(axis) > 1]
    return Share(mesh, axes[0]) if len(axes) == 1 else None


def _whole_mask(mask: Mask, heads: int, gathered: Callable[[Tensor], Tensor]) -> Mask:
    keys, table = mask.keys, mask.table
    if heads > 1 and keys is not None and keys.ndim == 3 and keys.shape[1] == heads:
        keys = gathered(keys)
    if heads > 1 and table is not None and table.shape[1] == heads:
        table = gathered(table)
    return replace(mask, keys=keys, table=table)
