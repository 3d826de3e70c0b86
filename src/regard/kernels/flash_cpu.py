"""PyTorch's fused attention for the CPU, which also returns the log-sum-exp.

The operator is private to PyTorch (`aten::_scaled_dot_product_flash_attention_for_cpu`); it is reached from this file
only. It wants query, key and value of one width, a mask in the query's dtype, and returns 0 for the log-sum-exp of a
row that sees no key; its gradient ignores the log-sum-exp. The callers mend all four. It reads the last dimension as if
its stride were 1, whatever it is; that is mended here.
"""

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def supports(q: Tensor) -> bool:
    """Say whether the operator exists here and takes tensors like `q`."""
    return (
        q.device.type == "cpu"
        and q.dtype in DTYPES
        and hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu")
    )


def flash_cpu(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool, added: Tensor | None, scale: float
) -> tuple[Tensor, Tensor]:
    """Attend with the fused operator.

    Shapes: q [batch, head, query, dim], k and v [batch, kv_head, key, dim], `added` broadcastable to
    [batch, head, query, key] and in q's dtype. `causal` is aligned top-left: query i sees keys 0..i.
    Returns the output [batch, head, query, dim] and the log-sum-exp [batch, head, query].
    """
    q, k, v = (tensor if tensor.stride(-1) == 1 else tensor.contiguous() for tensor in (q, k, v))
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        q, k, v, 0.0, causal, attn_mask=added, scale=scale
    )
    return out, lse
