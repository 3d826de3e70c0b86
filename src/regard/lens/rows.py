"""Exact rows of weights, of chosen heads and queries only."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..core.patchwork import Patchwork
from ..core.terms import Block, Rows


def rows_of(patchwork: Patchwork, heads: Sequence[int], queries: Sequence[int]) -> Tensor:
    """Return the rows of these heads and queries, in the order given: [batch, head, query, key]."""
    index = torch.tensor(heads, device=patchwork.op.q.device)
    order = torch.argsort(index)
    keys = patchwork.op.k_len

    def whole(weights: Tensor, block: Block) -> Tensor:
        return nn.functional.pad(weights, (block.cols[0], keys - block.cols[1]))

    parts = []
    chosen = patchwork.select(
        index[order], (0, patchwork.op.q_len)
    )  # their keys and values are copied, once for all spans
    for span in _spans(queries):
        (part,) = chosen.select(None, span).answer([Rows(whole)])
        assert isinstance(part, Tensor)
        parts.append(part)
    return torch.cat(parts, 2)[:, torch.argsort(order)]


def indices(chosen: Sequence[int] | None, n: int, what: str) -> list[int]:
    """Return indices counted from 0, all of them for None.

    Raises IndexError for one that is not there.
    """
    if chosen is None:
        return list(range(n))
    wrong = [index for index in chosen if not -n <= index < n]
    if wrong or not len(chosen):
        raise IndexError(f"there is no {what} {wrong[0]}; there are {n}" if wrong else f"no {what} was chosen")
    return [index % n for index in chosen]


def _spans(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Return rows as ranges, in order: runs of neighbours together."""
    spans: list[tuple[int, int]] = []
    for row in rows:
        if spans and spans[-1][1] == row:
            spans[-1] = (spans[-1][0], row + 1)
        else:
            spans.append((row, row + 1))
    return spans
