"""What a row kernel is asked and what it answers, whichever device it runs on."""

from dataclasses import dataclass

from torch import Tensor

MASKED = -1e30
"""A bias that stands for a score of -inf; at or below half of it, a key is masked."""


@dataclass(frozen=True, eq=False)
class Asked:
    """One attention, `A = softmax(softcap(scale * q k^T) + bias)`, and what is wanted of it.

    Shapes: q [batch, head, query, dim], k [batch, kv_head, key, dim], v [batch or 1, head or kv_head or 1, key,
    value_dim], None if no output is wanted. Query i sees keys `lo` to `hi` - 1, both [batch or 1, query] int32.
    `bias` [batch or 1, head or 1, key] is added to scores, float32. `beside` [batch, head, query] is the log-sum-exp of
    the scores of what takes mass beside the keys, float32.

    `f` [batch or 1, head or 1, n, key], float32, are functionals of rows, `sum_j A_ij f_nj`, and `g` [m, batch, head,
    query], float32, the weights of m column sums, `sum_i g_i A_ij`. `places`, float32, ask for `sum_j A_ij |x_i - y_j|`:
    x [batch or 1, query], y [batch or 1, key]. `score` asks for
    `sum_j A_ij log A_ij`, and `top` for `max_j A_ij`.
    """

    q: Tensor
    k: Tensor
    v: Tensor | None
    scale: float
    lo: Tensor
    hi: Tensor
    softcap: float | None = None
    bias: Tensor | None = None
    beside: Tensor | None = None
    f: Tensor | None = None
    g: Tensor | None = None
    places: tuple[Tensor, Tensor] | None = None
    score: bool = False
    top: bool = False


@dataclass(frozen=True, eq=False)
class Answered:
    """Log-sum-exp [batch, head, query], -inf for a row that sees no key, and whatever else was asked for, all in float32.

    Shapes: out [batch, head, query, value_dim], score, top and apart (for `places`) [batch, head, query], row
    [batch, head, query, n], col [m, batch, head, key].
    """

    lse: Tensor
    out: Tensor | None = None
    score: Tensor | None = None
    top: Tensor | None = None
    apart: Tensor | None = None
    row: Tensor | None = None
    col: Tensor | None = None
