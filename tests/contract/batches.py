"""Batches of texts as attention calls: padded, cached, masked in every way, with rubbish where the padding is."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from hypothesis import strategies as st
from torch import Tensor

from regard.core import dense
from regard.core.attend import attend
from regard.core.call import Call, Site
from regard.core.effects import Effect
from regard.core.mask import Mask
from regard.core.operands import Extra, Operands
from regard.core.session import Session

DIM = 6


@dataclass(frozen=True)
class Kind:
    """What a batch is like; `past` keys come before the first query, in places of the padded batch."""

    lengths: tuple[int, ...] = (9, 13, 11)
    mask: Literal["causal", "full", "window", "table", "additive"] = "causal"
    padding: Literal["left", "right"] = "left"
    past: int = 0
    role: Literal["self", "cross"] = "self"
    kv_heads: int = 2
    groups: int = 2
    softcap: float | None = None
    sink: Literal["none", "head", "row"] = "none"
    extra: int = 0
    bias: Literal["none", "key", "row"] = "none"
    dtype: torch.dtype = torch.float64
    seed: int = 0


KINDS = {
    "causal": Kind(padding="right"),
    "grouped": Kind(kv_heads=1, groups=3),
    "both ways": Kind(mask="full", padding="right"),
    "one key": Kind(lengths=(1, 3, 1), kv_heads=1, groups=1),
    "window": Kind(mask="window"),
    "table": Kind(mask="table", lengths=(2, 3, 24)),
    "additive": Kind(mask="additive", padding="right"),
    "cached": Kind(past=5),
    "one query": Kind(past=12),
    "softcap": Kind(softcap=2.0, bias="row"),
    "key bias": Kind(mask="full", bias="key"),
    "sink": Kind(sink="head", lengths=(9, 13)),
    "sinks by row": Kind(sink="row", padding="right", mask="window"),
    "extra keys": Kind(extra=2),
    "cross": Kind(mask="full", role="cross", padding="right"),
}


@st.composite
def kinds(draw: st.DrawFn) -> Kind:
    """Draw a kind; some texts have no query left after the padding, and some tables leave queries without a key."""
    lengths = draw(st.lists(st.sampled_from([1, 2, 7, 20, 63]), min_size=1, max_size=3))
    role = draw(st.sampled_from(["self", "self", "self", "cross"]))
    return Kind(
        lengths=tuple(lengths),
        mask="full" if role == "cross" else draw(st.sampled_from(["causal", "full", "window", "table", "additive"])),
        padding=draw(st.sampled_from(["left", "right"])),
        past=draw(st.just(0) | st.integers(0, max(lengths) - 1)),
        role=role,
        kv_heads=draw(st.integers(1, 2)),
        groups=draw(st.integers(1, 3)),
        softcap=draw(st.sampled_from([None, None, 2.0])),
        sink=draw(st.sampled_from(["none", "none", "head", "row"])),
        extra=draw(st.sampled_from([0, 0, 1, 3])),
        bias=draw(st.sampled_from(["none", "none", "key", "row"])),
        seed=draw(st.integers(0, 2**20)),
    )


class Parity:
    """Two segments that partition the tokens: `even` and `odd`, by position."""

    def keys(self, name: str, call: Call) -> Tensor:
        return (call.kpos >= 0) & (call.kpos % 2 == {"even": 0, "odd": 1}[name])


def batch(kind: Kind) -> Call:
    """Make a batch of texts; what is at padding is fifty times as large as all else."""
    generator = torch.Generator().manual_seed(kind.seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(kind.dtype)

    b, heads, k_len = len(kind.lengths), kind.kv_heads * kind.groups, max(kind.lengths)
    lengths = torch.tensor(kind.lengths)[:, None]
    at = torch.arange(k_len)
    start = k_len - lengths if kind.padding == "left" else 0
    kpos = torch.where((at >= start) & (at < start + lengths), at - start, -1)
    q_len = 5 if kind.role == "cross" else k_len - kind.past
    qpos = torch.arange(5).expand(b, -1) if kind.role == "cross" else kpos[:, kind.past :]

    def rubbish(tensor: Tensor, positions: Tensor) -> Tensor:
        return torch.where((positions < 0)[:, None, :, None], 50 * tensor, tensor)

    q = rubbish(normal(b, heads, q_len, DIM), qpos)
    k, v = (rubbish(normal(b, kind.kv_heads, k_len, DIM), kpos) for _ in range(2))
    site = Site("layers.0", 0, 0, kind.role, heads, kind.kv_heads, "test", frozenset())
    op = Operands(
        q,
        k,
        v,
        _mask(kind, kpos >= 0, q_len, normal),
        scale=1.5 * DIM**-0.5,
        softcap=kind.softcap,
        sink={"none": None, "head": normal(heads) + 1, "row": normal(b, heads, q_len) + 1}[kind.sink],
        bias={"none": None, "key": normal(1, heads, 1, k_len), "row": normal(b, 1, q_len, k_len)}[kind.bias],
        extra=(Extra(normal(1, kind.kv_heads, kind.extra, DIM), normal(1, kind.kv_heads, kind.extra, DIM)),)
        if kind.extra
        else (),
    )
    return _call(site, op, qpos, kpos, kind.past if kind.role == "self" else 0)


def _mask(kind: Kind, keys: Tensor, q_len: int, normal: Callable[..., Tensor]) -> Mask:
    b, k_len = keys.shape
    mask = Mask(b, q_len, k_len, torch.device("cpu"), keys=None if keys.all() else keys)
    table = normal(b, 1, q_len, k_len) > 0.3
    match kind.mask:
        case "causal":
            return replace(mask, causal=True, offset=kind.past)
        case "window":
            return replace(mask, function=_window, q_start=kind.past)
        case "table":
            return replace(mask, table=table)
        case "additive":
            return replace(mask, table=normal(b, 1, q_len, k_len).masked_fill(table, torch.finfo(kind.dtype).min))
    return mask


def _window(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return (key <= query) & (key > query - 7)


def _call(site: Site, op: Operands, qpos: Tensor, kpos: Tensor, q_index: int) -> Call:
    session = Session(segments=Parity())
    return Call(site, op, qpos, kpos, q_index, 0, session, lambda: attend(op)[0])


def rows(call: Call, texts: slice) -> Call:
    """Return the call of some texts, padded as they are."""
    op, mask = call.op, call.op.mask

    def some(tensor: Tensor | None) -> Tensor | None:
        return tensor if tensor is None or tensor.shape[0] == 1 else tensor[texts]

    chosen = replace(
        op,
        q=op.q[texts],
        k=op.k[texts],
        v=op.v[texts],
        mask=replace(mask, batch=len(call.qpos[texts]), keys=some(mask.keys), table=some(mask.table)),
        sink=op.sink if op.sink is None or op.sink.ndim == 1 else op.sink[texts],
        bias=some(op.bias),
    )
    return _call(call.site, chosen, call.qpos[texts], call.kpos[texts], call.q_index)


def single(call: Call, text: int) -> Call:
    """Return the call of one text without its padding; queries and keys are those that are not padding."""
    one = rows(call, slice(text, text + 1))
    op, q, k = one.op, (one.qpos[0] >= 0).nonzero()[:, 0], (one.kpos[0] >= 0).nonzero()[:, 0]
    first = int(one.qpos[0, q[0]])
    mask = Mask(1, len(q), len(k), torch.device("cpu"), function=op.mask.function, q_start=first)
    if op.mask.causal:
        mask = replace(mask, causal=True, offset=first)
    if op.mask.table is not None:
        mask = replace(mask, table=op.mask.table[:, :, q][..., k])
    bias = op.bias
    if bias is not None:
        bias = (bias[:, :, q] if bias.shape[2] > 1 else bias)[..., k]
    op = replace(
        op,
        q=op.q[:, :, q],
        k=op.k[:, :, k],
        v=op.v[:, :, k],
        mask=mask,
        sink=op.sink if op.sink is None or op.sink.ndim == 1 else op.sink[:, :, q],
        bias=bias,
    )
    return _call(call.site, op, one.qpos[:, q], one.kpos[:, k], first if call.site.role == "self" else 0)


def double(call: Call) -> Call:
    """Return the same call in float64."""
    op = call.op
    extra = tuple(Extra(e.k.double(), e.v.double(), e.rows) for e in op.extra)
    names = ("q", "k", "v", "sink", "bias")
    tensors = {name: None if (t := getattr(op, name)) is None else t.double() for name in names}
    return replace(call, op=replace(op, extra=extra, **tensors))


@dataclass(frozen=True)
class Truth:
    """The whole map of a call, [batch, head, query, key] in float64, with its positions.

    NaN stands for what the query does not see, for padding, and for the rows of queries that are padding or see no key.
    """

    a: Tensor
    q: Tensor
    k: Tensor
    role: str

    @classmethod
    def of(cls, call: Call, *effects: Effect) -> "Truth":
        """Compute the map densely, from the same numbers in float64."""
        maps = dense.maps(double(call).op, effects)
        counted = maps.seen & (call.qpos >= 0)[:, None, :, None] & (call.kpos >= 0)[:, None, None]
        return cls(maps.weights.masked_fill(~counted, torch.nan), call.qpos, call.kpos, call.site.role)

    @property
    def there(self) -> Tensor:
        """The queries that count, [batch, head, query]."""
        return ~self.a.isnan().all(-1)

    @property
    def p(self) -> Tensor:
        """The weights of a row relative to its mass."""
        return self.a / self.a.nansum(-1, keepdim=True)

    @property
    def far(self) -> Tensor:
        """How far back a key is, [batch, 1, query, key]."""
        return (self.q[:, None, :, None] - self.k[:, None, None]).double()

    def mean(self, values: Tensor) -> Tensor:
        """Average [batch, head, query, ...] over the queries that count and whose value is a number."""
        dead = ~self.there.reshape(*self.there.shape, *[1] * (values.ndim - 3))
        return values.masked_fill(dead, torch.nan).nanmean(2)

    def mean_with_mass(self, values: Tensor) -> Tensor:
        """Average [batch, head, query] over the queries that count and give weight to any key."""
        return self.mean(values.masked_fill(self.a.nansum(-1) == 0, torch.nan))
