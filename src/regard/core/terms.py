"""Terms: the closed vocabulary of what may be asked of an attention, whoever asks and however it is computed.

Throughout, A are the weights [batch, head, query, key], S the scores, L their log-sum-exp per row, so that `A = exp(S -
L)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from .mask import Span


@dataclass(frozen=True, eq=False)
class Term:
    """A question to an attention; each kind says what the answer is."""


@dataclass(frozen=True, eq=False)
class Lse(Term):
    """The log-sum-exp L of every row, [batch, head, query]; -inf where a query sees no key."""


@dataclass(frozen=True, eq=False)
class Score(Term):
    """The expected score of every row, counted from its log-sum-exp: `sum_j A_ij (S_ij - L_i)`, [batch, head, query].

    It is minus the row's entropy, also where the row's mass is below 1. Asked for as one number, because the difference
    of a separate `sum_j A_ij S_ij` and `L_i` would cancel in rows whose scores share a large offset, as in sink heads.
    """


@dataclass(frozen=True, eq=False)
class Row(Term):
    """Linear functionals of every row, `sum_j A_ij f_jn`: [batch, head, query, n].

    Shape of f: [key, n], [batch, key, n] or [batch, head, key, n].
    """

    f: Tensor


@dataclass(frozen=True, eq=False)
class Col(Term):
    """Weighted column sums, `sum_i g_i A_ij`: [batch, head, key].

    Shape of g: [batch, query] or [batch, head, query], of any sign; None for ones.
    """

    g: Tensor | None = None


class Parts(NamedTuple):
    """The share of each segment: mass [batch, head, query, segment], outputs [batch, head, query, segment, value_dim]."""

    mass: Tensor
    out: Tensor


@dataclass(frozen=True, eq=False)
class Part(Term):
    """What each of n disjoint key segments contributes to every row: its mass and its part of the output, as `Parts`.

    Shape of labels: [batch, key], 0 to n-1, or -1 for keys of no segment.
    """

    labels: Tensor
    n: int


class Block(NamedTuple):
    """Where a block of weights lies: which heads (None for all), and the ranges of its queries and keys."""

    heads: Tensor | None
    rows: Span
    cols: Span


@dataclass(frozen=True, eq=False)
class Rows(Term):
    """Any function of exact rows, computed block by block: `fn(weights, block)`, concatenated over queries.

    fn gets weights [batch, head, row, col], where every key outside `block.cols` has weight 0, and returns
    [batch, head, row, ...].
    """

    fn: Callable[[Tensor, Block], Tensor]


Answer = Tensor | Parts
