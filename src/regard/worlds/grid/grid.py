"""The grid world: one or two nonsense objects, which the prompt names, sometimes more truly than the picture shows."""

from dataclasses import dataclass
from functools import cache
from math import pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..draw import Ints, generator
from .detector import AXES, SCALE, templates
from .tokenizer import AND, BOS, EOS, FIRST_HUE, FIRST_NOUN, HUES, LENGTH, NOUNS, PAD, STOP, THE, A

SIZE, CHANNELS = 8, AXES + 2
HELD_OUT_PAIRS = tuple(
    (NOUNS.index(one), NOUNS.index(other))
    for one, other in (("ka", "ku"), ("ki", "ne"), ("ke", "na"), ("ku", "ni"), ("nu", "ke"), ("ki", "nu"))
)
"""Pairs of concepts that no picture and no prompt has together."""


@dataclass(frozen=True, eq=False)
class Drawings:
    """Pictures, their prompts, and what is in them; an object is a place in the prompt, 0 or 1.

    `pictures` [batch, channel, row, column]. `ids` [batch, token]. `concepts` [batch, object], numbers in `NOUNS`, -1 for
    no second object. `drawn` [batch, object] is False for an object that is named and not shown. `corners` [batch, object, 2],
    row and column of the upper left cell. `masks` [batch, object, row, column], the cells of what is drawn. `hues` [batch,
    object], in radians. `nouns` [batch, object], the token that names the object. Without an object these
    hold -1, False or 0.
    """

    pictures: Tensor
    ids: Tensor
    concepts: Tensor
    drawn: Tensor
    corners: Tensor
    masks: Tensor
    hues: Tensor
    nouns: Tensor


@dataclass(frozen=True)
class Grid:
    """One object, or two with probability `pairs`, three by three cells each, on eight by eight, with a prompt.

    A concept is an axis and a sign: turned upside down, ka is na, ki is ni, ku is nu and ke is ne. Two objects are the same
    concept with probability `twins`; twins share their hue, others do with probability `shared_hue`. A word tells an object's
    hue with probability `hue_word`, and the hue is then one of three. Of two different objects, one is named and not drawn with
    probability `dropped`: a model that learns the world ignores it as often. Raises ValueError for what is no probability.

    >>> made = Grid().sample(4, seed=0)
    >>> made.pictures.shape, made.ids.shape
    (torch.Size([4, 6, 8, 8]), torch.Size([4, 10]))
    """

    pairs: float = 0.70
    twins: float = 0.25
    shared_hue: float = 0.5
    hue_word: float = 0.35
    dropped: float = 0.40

    def __post_init__(self) -> None:
        for name in ("pairs", "twins", "shared_hue", "hue_word", "dropped"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, not {getattr(self, name)}")

    def sample(self, count: int, seed: int, step: int = 0) -> Drawings:
        """Return `count` pictures."""
        rng = generator(seed, step)
        rows = np.arange(count)
        two = rng.random(count) < self.pairs
        twin = two & (rng.random(count) < self.twins)
        combinations = _combinations()
        concepts = combinations[rng.integers(len(combinations), size=count)]
        first = rng.integers(len(NOUNS), size=count)  # alone or a twin: all concepts alike, unlike those of pairs
        concepts[~two | twin] = first[~two | twin, None]
        concepts[~two, 1] = -1
        exists = concepts >= 0
        drawn = exists.copy()
        drop = two & ~twin & (rng.random(count) < self.dropped)
        drawn[rows[drop], rng.integers(2, size=count)[drop]] = False
        places = _places()
        corners = places[rng.integers(len(places), size=count)]
        worded, words, hues = self._hues(rng, twin, two)
        worded &= exists
        codes = templates().numpy()
        masks = np.zeros((count, 2, SIZE, SIZE), dtype=bool)
        pictures = np.zeros((count, CHANNELS, SIZE, SIZE), dtype=np.float32)
        for row, thing in zip(*drawn.nonzero(), strict=True):
            top, left = corners[row, thing]
            cells = pictures[row, :, top : top + 3, left : left + 3]
            cells[:AXES] = SCALE * codes[concepts[row, thing]]
            cells[AXES], cells[AXES + 1] = SCALE * np.cos(hues[row, thing]), SCALE * np.sin(hues[row, thing])
            masks[row, thing, top : top + 3, left : left + 3] = True
        ids, nouns = _prompts(rng, concepts, worded, words)
        kept = torch.from_numpy
        return Drawings(
            kept(pictures),
            kept(ids),
            kept(concepts),
            kept(drawn),
            kept(np.where(drawn[..., None], corners, -1)),
            kept(masks),
            kept(np.where(exists, hues, 0.0).astype(np.float32)),
            kept(nouns),
        )

    def _hues(
        self, rng: np.random.Generator, twin: NDArray[np.bool_], two: NDArray[np.bool_]
    ) -> tuple[NDArray[np.bool_], Ints, NDArray[np.float64]]:
        """Which objects have a word for their hue, which one, and the hues, [batch, object] each."""
        count = len(twin)
        worded = rng.random((count, 2)) < self.hue_word
        worded[:, 1] &= two
        words = rng.integers(len(HUES), size=(count, 2))
        free = rng.uniform(-pi, pi, (count, 2))
        shared = two & (twin | (rng.random(count) < self.shared_hue))
        words[shared, 1], free[shared, 1] = words[shared, 0], free[shared, 0]
        told = np.where(shared[:, None], worded.any(1, keepdims=True), worded)
        return worded, words, np.where(told, 2 * pi / len(HUES) * words, free)


@cache
def _combinations() -> Ints:
    """All ordered pairs of different concepts that are not held out, [pair, object]."""
    held = {frozenset(pair) for pair in HELD_OUT_PAIRS}
    concepts = range(len(NOUNS))
    return np.array([(a, b) for a in concepts for b in concepts if a != b and frozenset((a, b)) not in held])


@cache
def _places() -> Ints:
    """All pairs of corners of objects that do not overlap, [pair, object, 2]."""
    corners = np.stack(np.meshgrid(range(SIZE - 2), range(SIZE - 2), indexing="ij"), -1).reshape(-1, 2)
    apart = np.abs(corners[:, None] - corners[None]).max(-1) >= 3
    one, other = apart.nonzero()
    return np.stack([corners[one], corners[other]], 1)


def _prompts(rng: np.random.Generator, concepts: Ints, worded: NDArray[np.bool_], words: Ints) -> tuple[Ints, Ints]:
    """Token ids, [batch, token], and the place of each noun, [batch, object]."""
    count = len(concepts)
    ids, nouns = np.full((count, LENGTH), PAD), np.full((count, 2), -1)
    articles = np.where(rng.random((count, 2)) < 0.5, A, THE)
    stops = rng.random(count) < 0.5
    for row in range(count):
        text = [BOS]
        for thing in range(1 + (concepts[row, 1] >= 0)):
            if thing:
                text.append(AND)
            text.append(articles[row, thing])
            if worded[row, thing]:
                text.append(FIRST_HUE + words[row, thing])
            nouns[row, thing] = len(text)
            text.append(FIRST_NOUN + concepts[row, thing])
        if stops[row]:
            text.append(STOP)
        text.append(EOS)
        ids[row, : len(text)] = text
    return ids, nouns
