"""Texts and their translations, word by word, with every alignment known."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .batch import Batch
from .draw import Ints, generator, shuffles, to_batch

ORDERS = ("same", "reversed", "swapped")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Texts and their translations.

    `alignment` [batch, token of the target, token of the source] is True where one is the other's translation.
    """

    source: Batch
    target: Batch
    alignment: Tensor

    def inputs(self) -> dict[str, Tensor]:
        """Return what transformers' encoder-decoder models take; the target without its last, or its first, token."""
        labels = self.target.ids.masked_fill(~self.target.scored, -100)
        return {
            "input_ids": self.source.ids,
            "attention_mask": self.source.valid.long(),
            "decoder_input_ids": self.target.ids[:, :-1].contiguous(),
            "labels": labels[:, 1:].contiguous(),
        }


@dataclass(frozen=True)
class Parallel:
    """A source language and one target language for each of `orders`, each with its own words, tag and filler word.

    A target text is the source word by word, in the `same` order, `reversed`, or `swapped` two by two, with the language's filler
    behind every second word, for which nothing in the source is needed (`filler=False`: none). Texts have as many words as drawn
    from `lengths`, both ends included. A source is tag, words, `</s>` (`end="last"`), or has `</s>` first and the tag
    last, or has no `</s>`. A target is `</s>`, tag, words, `</s>`, as in M2M100 and NLLB. Raises ValueError for what is not
    there.

    Tokens: 0 is padding, 1 `</s>`, then a tag for each language with the source first, their fillers, and their words.

    Roles of both: `eos`, `tag`, `word`, `filler`. Truth of the target: `language` [batch] (which of `orders`). `surprise`
    (0 where scored).

    >>> pairs = Parallel().sample(2, seed=0)
    >>> pairs.alignment.shape[1:] == (pairs.target.ids.shape[1], pairs.source.ids.shape[1])
    True
    >>> bool((pairs.alignment.sum(2) == pairs.target.roles["word"]).all())
    True
    """

    words: int = 48
    orders: tuple[str, ...] = ORDERS
    lengths: tuple[int, int] = (4, 10)
    filler: bool = True
    end: Literal["last", "first", "none"] = "last"
    language: int = 0

    def __post_init__(self) -> None:
        if not self.orders or set(self.orders) - set(ORDERS):
            raise ValueError(f"orders are of {', '.join(ORDERS)}, not {self.orders}")
        if not 1 <= self.lengths[0] <= self.lengths[1] or self.end not in ("last", "first", "none"):
            raise ValueError(f"lengths {self.lengths} are not a range, or </s> cannot be {self.end!r}")

    @property
    def languages(self) -> int:
        """Number of languages, with the source."""
        return 1 + len(self.orders)

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return 2 + self.languages * (2 + self.words)

    @cached_property
    def dictionary(self) -> Ints:
        """Which word of each target language, [order, word], a source word is, by number."""
        return shuffles(generator(self.language), len(self.orders), 0, self.words)

    def word(self, language: int, number: Ints) -> Ints:
        """Return the token ids of words of a language, 0 for the source, by number."""
        return 2 + 2 * self.languages + language * self.words + number

    def sample(self, count: int, seed: int, step: int = 0) -> Pairs:
        """Return `count` pairs, ids [batch, token] each."""
        rng = generator(seed, step)
        language = rng.integers(0, len(self.orders), count)
        sources, targets, aligned = [], [], []
        for chosen in language:
            number = rng.integers(0, self.words, rng.integers(self.lengths[0], self.lengths[1] + 1))
            order = _order(self.orders[chosen], len(number))
            said = self.word(1 + chosen, self.dictionary[chosen][number[order]])
            sources.append(self._source(self.word(0, number)))
            tokens, origin = self._target(said, 1 + chosen)
            targets.append(tokens)
            aligned.append(np.where(origin < 0, -1, 1 + order[np.maximum(origin, 0)]))  # words start behind tag or </s>
        source, target = self._batch(sources, None, {}), self._batch(targets, 2, {"language": language})
        alignment = torch.zeros(count, target.ids.shape[1], source.ids.shape[1], dtype=torch.bool)
        for row, place in enumerate(aligned):
            spoken = np.flatnonzero(place >= 0)
            alignment[row, spoken, place[spoken]] = True
        return Pairs(source, target, alignment)

    def _source(self, words: Ints) -> Ints:
        match self.end:
            case "last":
                return np.array([2, *words, 1])
            case "first":
                return np.array([1, *words, 2])
            case _:
                return np.array([2, *words])

    def _target(self, words: Ints, language: int) -> tuple[Ints, Ints]:
        """Return a target's tokens, and which of its words each is, -1 for none."""
        spoken = [[place] + [-1] * (self.filler and place % 2 == 1) for place in range(len(words))]
        origin = np.array([-1, -1, *(place for places in spoken for place in places), -1])
        tokens = np.where(origin < 0, 2 + self.languages + language, words[np.maximum(origin, 0)])
        tokens[[0, 1, -1]] = 1, 2 + language, 1
        return tokens, origin

    def _batch(self, rows: list[Ints], given: int | None, truth: dict[str, Ints]) -> Batch:
        """Return padded rows; scored are those tokens behind the first `given` ones, None for all."""
        ids = np.zeros((len(rows), max(len(row) for row in rows)), dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
        tags, fillers = 2 + self.languages, 2 + 2 * self.languages
        roles = {"eos": ids == 1, "tag": (ids >= 2) & (ids < tags), "filler": (ids >= tags) & (ids < fillers)}
        roles["word"] = ids >= fillers
        scored = (ids > 0) & (np.arange(ids.shape[1]) >= (ids.shape[1] if given is None else given))
        floor = {"surprise": np.zeros(ids.shape, dtype=np.float32)}
        return to_batch(ids, scored, roles, truth | floor, valid=ids > 0)


def _order(kind: str, length: int) -> Ints:
    """Return which source word each target word is."""
    place = np.arange(length)
    if kind == "reversed":
        return place[::-1].copy()
    if kind == "swapped":
        return np.where(place ^ 1 < length, place ^ 1, place)
    return place
