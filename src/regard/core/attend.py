"""The one door to attention kernels."""

from torch import Tensor

from . import blockwise, fused
from .operands import Operands


def attend(op: Operands) -> tuple[Tensor, Tensor]:
    """Attend: output [batch, head, query, value_dim] in v's dtype, log-sum-exp [batch, head, query] in float32 or better.

    The fused kernel of the device runs where it is exact; blocks of queries otherwise, and wherever gradients are
    wanted, since the fused kernels detach the log-sum-exp. A query that sees no key has output 0 and log-sum-exp -inf.
    """
    if fused.supports(op):
        return fused.attend(op)
    out, lse = blockwise.attend(op)
    return out.to(op.v.dtype), lse
