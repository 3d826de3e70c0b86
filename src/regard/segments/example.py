"""What is known of the tokens of one example."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .image import Picture, taken
from .words import content_words, is_punctuation

if TYPE_CHECKING:
    from .vocabulary import Vocabulary

_IMAGE = re.compile(r"image\[(\d+)\](?:\.box\(([^)]*)\))?$")
_LAST = re.compile(r"last\[(\d+)\]$")
_CONTENT = re.compile(r"content(?:\[(\w+)\])?$")


@dataclass(frozen=True, eq=False)
class Example:
    """One text or conversation without padding: its ids [token], its text, and its named tokens, bool [token].

    `spans` are each token's range of characters in `text`; where text was not at hand, both are spelled from the ids. `ids` is
    None where only embeddings are known. `named` holds chat roles and what the user named.
    """

    vocabulary: "Vocabulary"
    ids: Tensor | None
    text: str | None = None
    spans: Sequence[tuple[int, int]] | None = None
    named: dict[str, Tensor] = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    length: int = -1

    def __len__(self) -> int:
        return self.length if self.ids is None else len(self.ids)

    def names(self) -> list[str]:
        """Return the names that this example knows; of families such as `re:`, a sketch."""
        known = [*self.named]
        if self.ids is not None:
            known += [*self.vocabulary.named] + ["image"] * (self.vocabulary.image is not None)
            known += [f"image[{place}]" for place in range(len(self.pictures))]
            if self.vocabulary.tokenizer is not None:
                known += ["special", "text", "punctuation", "content", "re:PATTERN"]
        return [*known, "last[N]"]

    def find(self, name: str) -> Tensor | None:
        """Return the tokens of one name, bool [token]; None if it is not known here.

        Raises ValueError for a box or a regular expression that cannot be.
        """
        if name in self.named:
            return self.named[name]
        if last := _LAST.match(name):
            return torch.arange(len(self)) >= len(self) - int(last[1])
        if self.ids is None:
            return None
        if name in self.vocabulary.named:
            same = self.ids == self.vocabulary.named[name]
            return same & (torch.arange(len(self)) == 0) if name == "bos" else same
        if name == "image" and self.vocabulary.image is not None:
            return self.ids == self.vocabulary.image
        if image := _IMAGE.match(name):
            return self._image(int(image[1]), image[2])
        if self.vocabulary.tokenizer is None:
            return None
        return self._of_text(name)

    def extended(self, tail: Tensor) -> "Example":
        """Return the example with tokens that came later, of which only the ids are known."""
        assert self.ids is not None
        ids = torch.cat([self.ids, tail])
        named = {name: torch.nn.functional.pad(tokens, (0, len(tail))) for name, tokens in self.named.items()}
        return _Extended(self.vocabulary, ids, named=named, pictures=self.pictures, prompt=self)

    def lengthened(self, more: int) -> "Example":
        """Return the example with tokens that came later, of which nothing is known."""
        return _Lengthened(self.vocabulary, None, length=len(self) + more, prompt=self)

    def take(self, places: Tensor) -> "Example":
        """Return some of the tokens alone, by their places in ascending order."""
        return Example(
            self.vocabulary,
            None if self.ids is None else self.ids[places],
            self.text,
            None if self.spans is None else [self.spans[place] for place in places.tolist()],
            {name: tokens[places] for name, tokens in self.named.items()},
            taken(self.pictures, places),
            len(places),
        )

    @cached_property
    def spelled(self) -> tuple[str, Sequence[tuple[int, int]]]:
        """The text, and each token's range of characters in it."""
        if self.text is not None and self.spans is not None:
            return self.text, self.spans
        assert self.ids is not None
        return self.vocabulary.spell(self.ids.tolist())

    def _of_text(self, name: str) -> Tensor | None:
        assert self.ids is not None
        special = torch.isin(self.ids, self.vocabulary.special)
        if name == "special":
            return special
        plain = ~special & (self.ids != (-1 if self.vocabulary.image is None else self.vocabulary.image))
        if name == "text":
            return plain
        if name == "punctuation":
            text, spans = self.spelled
            return torch.tensor([is_punctuation(text[a:b]) for a, b in spans], dtype=torch.bool) & plain
        if content := _CONTENT.match(name):
            return self.overlapping(content_words(self.spelled[0], content[1] or "en")) & plain
        if name.startswith("re:"):
            return self.overlapping(_matches(name[3:], self.spelled[0]))
        return None

    def overlapping(self, ranges: Sequence[tuple[int, int]]) -> Tensor:
        """Return the tokens that share a character with one of the ranges, which are in order."""
        spans = torch.tensor(self.spelled[1], dtype=torch.long).reshape(-1, 2)
        if not ranges:
            return torch.zeros(len(spans), dtype=torch.bool)
        starts, ends = torch.tensor(ranges, dtype=torch.long).T.contiguous()
        first, last = spans.T.contiguous()
        begun = torch.searchsorted(starts, last)  # ranges that start before the token ends
        done = torch.searchsorted(ends, first, right=True)  # ranges that end before it starts
        return (begun > done) & (last > first)

    def _image(self, place: int, box: str | None) -> Tensor | None:
        if place >= len(self.pictures):
            return None
        chosen = torch.zeros(len(self), dtype=torch.bool)
        picture = self.pictures[place]
        if box is None:
            chosen[picture.tokens] = True
            return chosen
        try:
            left, top, right, bottom = (float(number) for number in box.split(","))
        except ValueError as error:
            raise ValueError(
                f"a box is image[{place}].box(left, top, right, bottom) in pixels, not box({box})"
            ) from error
        chosen[picture.box(left, top, right, bottom)] = True
        return chosen


@dataclass(frozen=True, eq=False)
class _Extended(Example):
    """A prompt whose text is known as it was given, and a tail that is spelled from its ids."""

    prompt: Example | None = None

    @cached_property
    def spelled(self) -> tuple[str, Sequence[tuple[int, int]]]:
        assert self.prompt is not None and self.ids is not None
        text, spans = self.prompt.spelled
        context = self.ids[len(self.prompt) - 1 :].tolist()  # with one token before it, so that its first space is seen
        tail, places = self.vocabulary.spell(context)
        shift = len(text) - places[0][1]
        return text + tail[places[0][1] :], [*spans, *((start + shift, end + shift) for start, end in places[1:])]


@dataclass(frozen=True, eq=False)
class _Lengthened(Example):
    """A prompt and tokens that are in no segment, but the last."""

    prompt: Example | None = None

    def names(self) -> list[str]:
        assert self.prompt is not None
        return self.prompt.names()

    def find(self, name: str) -> Tensor | None:
        assert self.prompt is not None
        found = super().find(name) if _LAST.match(name) else self.prompt.find(name)
        return None if found is None else torch.nn.functional.pad(found, (0, len(self) - len(found)))


def _matches(pattern: str, text: str) -> list[tuple[int, int]]:
    try:
        return [match.span() for match in re.finditer(pattern, text) if match.end() > match.start()]
    except re.error as error:
        raise ValueError(f"re:{pattern} is no regular expression: {error}") from error
