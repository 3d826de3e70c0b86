"""Checkpoints whose gates are rows of `q_proj`: taking the two apart, and putting them together."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Layout = Literal["head", "group"]


def split_gate(packed: Tensor, heads: int, kv_heads: int, dim: int, layout: Layout) -> tuple[Tensor, Tensor]:
    """Return the rows of queries [head * dim, ...] and of gates, [head * dim, ...] or [head, ...], of a packed weight or bias.

    "head" is the layout of transformers (Qwen3-Next): each head's query, then its gate. "group" is that of the paper's code: for
    each key-value head, the queries of its heads, then their gates. They differ where several heads share keys. Raises ValueError
    for a number of rows that is neither kind's.
    """
    rows, groups = packed.shape[0], heads if layout == "head" else kv_heads
    if rows not in (heads * (dim + 1), heads * 2 * dim):
        raise ValueError(f"{rows} rows are not the queries and gates of {heads} heads of {dim}")
    own = packed.unflatten(0, (groups, -1))
    queries = heads * dim // groups
    return own[:, :queries].flatten(0, 1), own[:, queries:].flatten(0, 1)


def join_gate(query: Tensor, gate: Tensor, heads: int, kv_heads: int, layout: Layout) -> Tensor:
    """Return the packed weight or bias that `split_gate` takes apart."""
    groups = heads if layout == "head" else kv_heads
    return torch.cat([query.unflatten(0, (groups, -1)), gate.unflatten(0, (groups, -1))], 1).flatten(0, 1)


def split_gates(state: Mapping[str, Tensor], heads: int, kv_heads: int, dim: int, layout: Layout) -> dict[str, Tensor]:
    """Return a state dict with gates as `self_attn.gate_proj`, fit for a model with a `Gate(preserving=False)`.

    A `q_proj` with no gates stays as it is. A bias of `q_proj` needs `Gate(bias=True)`.
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        head, _, kind = name.rpartition(".q_proj.")
        if head and value.shape[0] != heads * dim:
            query, gate = split_gate(value, heads, kv_heads, dim, layout)
            found |= {name: query, f"{head}.gate_proj.{kind}": gate}
        else:
            found[name] = value
    return found
