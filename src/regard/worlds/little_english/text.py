"""Texts that know which of their characters are what."""

import string
from dataclasses import dataclass, field
from typing import Any

_FORMATTER = string.Formatter()


@dataclass(frozen=True)
class Text:
    """A text and its marked spans (role, first character, behind the last); `facts` is what is true in it, by name."""

    text: str
    spans: tuple[tuple[str, int, int], ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def __add__(self, other: "Text") -> "Text":
        """Return both with a space between, and the facts of both."""
        shift = len(self.text) + 1
        moved = tuple((role, first + shift, last + shift) for role, first, last in other.spans)
        return Text(f"{self.text} {other.text}", self.spans + moved, self.facts | other.facts)


def fill(template: str, **words: str) -> Text:
    """Put words in place of `{role}`, and mark them so."""
    text, spans = "", []
    for plain, role, _, _ in _FORMATTER.parse(template):
        text += plain
        if role is not None:
            word = words[role]
            spans.append((role, len(text), len(text) + len(word)))
            text += word
    return Text(text, tuple(spans))
