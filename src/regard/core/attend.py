"""The one door to attention kernels."""

from torch import Tensor

from . import backward, blockwise
from .operands import Operands


def attend(op: Operands) -> tuple[Tensor, Tensor]:
    """Attend: output [batch, head, query, value_dim] in v's dtype, log-sum-exp [batch, head, query] in float32 or better.

    The fused kernel of the device runs where it is exact, blocks of queries elsewhere; both are differentiable through
    the output and the log-sum-exp. A query that sees no key has output 0 and log-sum-exp -inf.
    """
    if op.needs_grad and (
        op.laws or op.dropout
    ):  # functions of the user's, or a random draw, that autograd has to follow
        out, lse = blockwise.attend(op)
        return out.to(op.v.dtype), lse
    return backward.attend(op) if op.needs_grad else backward.forward(op)
