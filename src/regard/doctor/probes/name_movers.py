"""Heads that, at the end of "When A and B went, B gave it to", attend to A rather than to B."""

from typing import Any

import torch

from ...lens import Lens
from ..known import Fact, Measured
from ._heads import ranked, scores

NAMES = ("Mary", "John", "Tom", "James", "Anna", "Paul", "Mark", "Sarah", "David", "Laura", "Peter", "Alice")
SENTENCE = "When {a} and {b} went to the store, {b} gave a drink to"


def measure(lens: Lens, fact: Fact) -> Measured:
    """Rank heads by the weight that the last token gives to the one name, less what it gives to the other's two places.

    Raises ValueError where too few of the names are one token each.
    """
    tokenizer = getattr(lens.processor, "tokenizer", lens.processor)
    if tokenizer is None:
        raise ValueError("names need a tokenizer")
    single = {name: ids[0] for name in NAMES if len(ids := _ids(tokenizer, f" {name}")) == 1}
    pairs = list(zip(list(single)[::2], list(single)[1::2], strict=False))
    if len(pairs) < 2:
        raise ValueError(f"of the names {', '.join(NAMES)}, the tokenizer has only {len(single)} as one token each")
    both = [pair for a, b in pairs for pair in ((a, b), (b, a))]
    rows = [_ids(tokenizer, SENTENCE.format(a=a, b=b)) for a, b in both]
    begin = tokenizer.bos_token_id
    tokens = torch.tensor([[begin, *row] if begin is not None else row for row in rows])
    mover, giver = torch.zeros(2, *tokens.shape, tokens.shape[1], dtype=torch.bool)
    for row, (a, b) in enumerate(both):
        mover[row, -1] = tokens[row] == single[a]
        giver[row, -1] = tokens[row] == single[b]
    x = {"input_ids": tokens.to(next(lens.model.parameters()).device)}
    return ranked(scores(lens, x, mover) - scores(lens, x, giver), fact)


def _ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
