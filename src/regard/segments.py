"""Named sets of tokens, found from token ids: what a tokenizer can tell, and what the user names."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .core.call import Call
from .core.session import Session

Rule = Callable[[Tensor], Tensor]
"""Token ids [batch, token] -> bool [batch, token]."""


def rules(tokenizer: Any) -> dict[str, Rule]:
    """Return the segments that a tokenizer can tell apart: `special`, `text` (all others), `punctuation`, `bos`, `cls`, ..."""
    if tokenizer is None:
        return {}
    special = torch.tensor(sorted(tokenizer.all_special_ids), dtype=torch.long)

    def is_special(ids: Tensor) -> Tensor:
        return torch.isin(ids, special.to(ids.device))

    def is_punctuation(ids: Tensor) -> Tensor:
        known = {i: _punctuation(tokenizer.decode([i])) for i in ids.unique().tolist()}
        marks = torch.tensor([i for i, yes in known.items() if yes], dtype=torch.long, device=ids.device)
        return torch.isin(ids, marks) & ~is_special(ids)

    found: dict[str, Rule] = {
        "special": is_special,
        "text": lambda ids: ~is_special(ids),
        "punctuation": is_punctuation,
    }
    for name in ("bos", "eos", "cls", "sep"):
        token = getattr(tokenizer, f"{name}_token_id", None)
        if token is not None:
            found[name] = _equals(token)
    return found


def _equals(token: int) -> Rule:
    return lambda ids: ids == token


def _punctuation(token: str) -> bool:
    text = token.strip()
    return bool(text) and not any(c.isalnum() for c in text)


class TokenSegments:
    """The segments of one run: by rule from its token ids, or given by name as bool [batch, token].

    `generated` are the tokens after the prompt. Tokens that come later are in no segment that was given.
    """

    def __init__(self, session: Session, rules: Mapping[str, Rule], given: Mapping[str, Tensor] | None = None) -> None:
        self._session = session
        self._rules = rules
        self._given = given or {}

    def names(self) -> list[str]:
        """Return all names that `keys` knows, besides `first`, `rest` and `all`."""
        return sorted({*self._given, *self._rules, "generated"})

    def keys(self, name: str, call: Call) -> Tensor:
        """Return which keys of the call are in the segment, [batch, key] bool."""
        if call.site.role == "cross":
            raise KeyError(f"segment {name!r} names tokens of one sequence, and the keys of {call.site} are another's")
        ids = self._session.ids
        if name in self._given:
            table = self._given[name]
        elif name == "generated":
            return (torch.arange(call.op.k_len, device=call.kpos.device) + call.k_index >= self._session.prompt) & (
                call.kpos >= 0
            )
        elif name in self._rules and ids is not None:
            table = self._rules[name](ids)
        else:
            raise KeyError(f"no segment {name!r}; there are {', '.join(['first', 'rest', 'all', *self.names()])}")
        table = table.to(call.kpos.device)[:, call.k_index : call.k_index + call.op.k_len]
        missing = call.op.k_len - table.shape[1]
        return torch.nn.functional.pad(table, (0, missing)) & (call.kpos >= 0)
