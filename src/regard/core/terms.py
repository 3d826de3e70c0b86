"""Terms: the closed vocabulary of what may be asked of an attention, whoever asks and however it is computed.

Throughout, A are the weights [batch, head, query, key], S the scores, L their log-sum-exp per row, so that `A = exp(S -
L)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from .mask import Mask, Span


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
class Top(Term):
    """The largest weight of every row, `max_j A_ij`, [batch, head, query]."""


@dataclass(frozen=True, eq=False)
class Row(Term):
    """Linear functionals of every row, `sum_j A_ij f_jn`: [batch, head, query, n].

    Shape of f: [key, n], [batch, key, n], or [batch, head or kv_head, key, n].
    """

    f: Tensor


@dataclass(frozen=True, eq=False)
class Far(Term):
    """How far away every row looks, `sum_j A_ij |x_i - y_j|`: [batch, head, query].

    Shape of the places: x [batch or 1, query] of the queries, y [batch or 1, key] of the keys.
    """

    x: Tensor
    y: Tensor


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


@dataclass(frozen=True, eq=False)
class Without(Term):
    """A term about the weights as they would be without some keys: `A_ij kept_j / sum_j A_ij kept_j`.

    Shape of hidden: [batch or 1, key] bool. Sink logits and extra keys are hidden, too; a row with nothing left is empty.
    `term` is a `Score`, `Top`, `Row` or `Far`.
    """

    hidden: Tensor
    term: Score | Top | Row | Far


class Attended(NamedTuple):
    """An attention's output [batch, head, query, value_dim] and log-sum-exp [batch, head, query]."""

    out: Tensor
    lse: Tensor


@dataclass(frozen=True, eq=False)
class Attend(Term):
    """What the same queries attend to on other keys, with the call's scale and softcap: `Attended`.

    Shapes: k [batch or 1, kv_head, key, dim], v [batch or 1, kv_head, key, value_dim], where kv_head divides the call's
    heads; `bias` broadcastable to [batch, head, query, key]. Without a mask every query sees every key.
    """

    k: Tensor
    v: Tensor
    mask: Mask | None = None
    bias: Tensor | None = None


class Block(NamedTuple):
    """Where a block of scores or weights lies: which heads (None for all), and the ranges of its queries and keys.

    `seen` [batch, head, row, col] bool says which keys a query sees; it is there for what is asked about weights.
    """

    heads: Tensor | None
    rows: Span
    cols: Span
    seen: Tensor | None = None


OfBlock = Callable[[Tensor, Block], Tensor]
"""A function of a block of scores or weights [batch, head, row, col]."""


@dataclass(frozen=True, eq=False)
class Rows(Term):
    """Any function of exact rows, computed block by block: `fn(weights, block)`, concatenated over queries.

    fn gets weights [batch, head, row, col], where every key outside `block.cols` has weight 0, and returns
    [batch, head, row, ...]. Heads that edits have taken apart come apart, or with `all_heads` side by side.
    """

    fn: OfBlock
    all_heads: bool = False


Answer = Tensor | Parts | Attended


def shifted(fn: OfBlock, heads: Tensor | None, start: int) -> OfBlock:
    """Return `fn`, which counts heads and queries in a whole, for the part that has some heads and starts at a query."""

    def inside(values: Tensor, block: Block) -> Tensor:
        whole = block.heads if heads is None else heads if block.heads is None else heads[block.heads]
        return fn(values, block._replace(heads=whole, rows=(block.rows[0] + start, block.rows[1] + start)))

    return inside
