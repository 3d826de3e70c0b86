"""The text that token ids spell, and which characters of it each token stands for."""

from collections.abc import Sequence
from typing import Any

Span = tuple[int, int]
_UNFINISHED = "\ufffd"
_BYTES = 4
"""The most tokens that one character can be split into: UTF-8 has up to four bytes."""


def spell(tokenizer: Any, ids: Sequence[int]) -> tuple[str, list[Span]]:
    """Return the text of token ids and each token's range of characters; tokens that share a character share its range.

    Each token is decoded after the one before it, so that it brings the space that it brings in running text.
    """

    def decode(part: Sequence[int]) -> str:
        return str(tokenizer.decode(list(part), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    text, spans = "", [(0, 0)] * len(ids)
    before, read = 0, 0
    for end in range(1, len(ids) + 1):
        known, whole = decode(ids[before:read]), decode(ids[before:end])
        if whole.endswith(_UNFINISHED) and end - read < _BYTES and end < len(ids):
            continue
        piece = whole[len(known) :]
        spans[read:end] = [(len(text), len(text) + len(piece))] * (end - read)
        text += piece
        before, read = read, end
    return text, [trimmed(text, span) for span in spans]


def trimmed(text: str, span: Span) -> Span:
    """Return a range without the white space around its characters, if it has others."""
    start, end = span
    piece = text[start:end]
    if not piece.strip():
        return span
    return start + len(piece) - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())
