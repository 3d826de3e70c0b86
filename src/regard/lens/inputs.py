"""What a model is given, with what each token is."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Inputs(dict[str, Any]):
    """Model inputs, an ordinary dict (`model(**x)`), that remember their tokens.

    `tokens` are the token strings of each example with its padding, `valid` [batch, token] is False for padding, and
    `truncated` says how many tokens each example lost.
    """

    def __init__(self, inputs: Mapping[str, Any], tokens: list[list[str]], valid: Tensor, truncated: list[int]) -> None:
        super().__init__(inputs)
        self.tokens = tokens
        self.valid = valid
        self.truncated = truncated


def encode(tokenizer: Any, texts: Sequence[str], max_tokens: int | None, limit: int | None, device: Any) -> Inputs:
    """Tokenise texts, pad them to one length on the tokenizer's side, and cut what is longer than `max_tokens`.

    Raises ValueError for no text, for a text without tokens, and for one longer than `limit`, what the model takes.
    """
    if not texts:
        raise ValueError("no text to encode: give one text or several")
    ids: list[list[int]] = []
    truncated: list[int] = []
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {place + 1} is a {type(text).__name__}, not a string")
        full = list(tokenizer(text, verbose=False)["input_ids"])
        real = [token for token in full if token not in set(tokenizer.all_special_ids)] if not text.strip() else full
        if not real:
            raise ValueError(f"text {place + 1} of {len(texts)} is empty: there is nothing to attend to")
        kept = full
        if max_tokens is not None and len(full) > max_tokens:
            kept = list(tokenizer(text, truncation=True, max_length=max_tokens)["input_ids"])
        if limit is not None and len(kept) > limit:
            raise ValueError(
                f"text {place + 1} of {len(texts)} has {len(kept)} tokens and the model takes {limit}: "
                f"cut it with max_tokens={limit}, or give it in pieces"
            )
        ids.append(kept)
        truncated.append(len(full) - len(kept))
    return _padded(tokenizer, ids, truncated, device)


def _padded(tokenizer: Any, ids: list[list[int]], truncated: list[int], device: Any) -> Inputs:
    width = max(len(one) for one in ids)
    filler = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    left = tokenizer.padding_side == "left"
    rows, valid = [], []
    for one in ids:
        padding, real = [filler] * (width - len(one)), [True] * len(one)
        rows.append(padding + one if left else one + padding)
        absent = [False] * len(padding)
        valid.append(absent + real if left else real + absent)
    table = torch.tensor(rows, device=device)
    mask = torch.tensor(valid, device=device)
    given: dict[str, Any] = {"input_ids": table, "attention_mask": mask.long()}
    if "token_type_ids" in getattr(tokenizer, "model_input_names", []):
        given["token_type_ids"] = torch.zeros_like(table)
    return Inputs(given, [tokenizer.convert_ids_to_tokens(row) for row in rows], mask, truncated)
