"""One text as tokens of which is known where they stand in it; the user's tokenizer stays as it was."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ..segments import Example, Vocabulary
from ..segments.chat import Rendered
from ..segments.spelling import trimmed


@dataclass(frozen=True)
class Tokenised:
    """A text's tokens, of which the first `head` and the last `tail` were added by the tokenizer."""

    example: Example
    head: int
    tail: int

    def __len__(self) -> int:
        return len(self.example)

    def pieces(self, n: int) -> list[Example]:
        """Return the text in pieces of at most n tokens, each with the added tokens; raises ValueError for an n too small."""
        room = n - self.head - self.tail
        if room < 1:
            raise ValueError(
                f"{n} tokens leave no room for text: the tokenizer adds {self.head + self.tail} tokens to each"
            )
        end = len(self) - self.tail
        return [self._piece(start, min(start + room, end)) for start in range(self.head, end, room)]

    def cut(self, n: int, side: str) -> Example:
        """Return at most n tokens, cut on the "right" or the "left", with the added tokens."""
        if len(self) <= n:
            return self.example
        pieces = self.pieces(n)
        room, end = n - self.head - self.tail, len(self) - self.tail
        return pieces[0] if side == "right" else self._piece(end - room, end)

    def _piece(self, start: int, stop: int) -> Example:
        n = len(self)
        parts = (range(self.head), range(start, stop), range(n - self.tail, n))
        return self.example.take(torch.tensor([place for part in parts for place in part]))


def tokenise(vocabulary: Vocabulary, text: str | Rendered) -> Tokenised:
    """Tokenise a text with the tokenizer's own special tokens, or a conversation, which brings those of its template."""
    plain = isinstance(text, str)
    written = text if isinstance(text, str) else text.text
    with unchanged(vocabulary.tokenizer):
        ids, spans = _tokens(vocabulary.tokenizer, written, special=plain)
        bare = _tokens(vocabulary.tokenizer, written, special=False)[0] if plain else ids
    head = next((at for at in range(len(ids) - len(bare) + 1) if ids[at : at + len(bare)] == bare), 0)
    table = torch.tensor(ids, dtype=torch.long)
    example = Example(vocabulary, table, written if spans is not None else None, spans)
    if not isinstance(text, str) and example.spelled[0] == written:
        for role in dict.fromkeys(role for role, _, _ in text.roles):
            example.named[role] = example.overlapping([(a, b) for name, a, b in text.roles if name == role])
        example.named["template"] = ~torch.stack(list(example.named.values())).any(0)
    return Tokenised(example, head, len(ids) - len(bare) - head)


def _tokens(tokenizer: Any, text: str, *, special: bool) -> tuple[list[int], Sequence[tuple[int, int]] | None]:
    fast = bool(getattr(tokenizer, "is_fast", False))
    found = tokenizer(text, add_special_tokens=special, return_offsets_mapping=fast, verbose=False)
    spans = [trimmed(text, (start, end)) for start, end in found["offset_mapping"]] if fast else None
    return list(found["input_ids"]), spans


@contextmanager
def unchanged(tokenizer: Any) -> Iterator[None]:
    """Put back what a call of a fast tokenizer sets: how it truncates and pads."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        yield
        return
    truncation, padding = backend.truncation, backend.padding
    try:
        yield
    finally:
        backend.enable_truncation(**truncation) if truncation else backend.no_truncation()
        backend.enable_padding(**padding) if padding else backend.no_padding()
