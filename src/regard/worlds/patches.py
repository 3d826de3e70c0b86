"""Pictures of a few patches, and a language that expects colours: the least world in which a model can imagine what it sees."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .batch import Batch
from .draw import Ints, generator, shuffles, to_batch

Floats = NDArray[np.float64]
BOS, IMAGE, QUESTION, ANSWER = range(4)


@dataclass(frozen=True, eq=False)
class Patchwork:
    """Patches [batch, patch, feature] and texts with a place for each, in the same order; no patch where there is no image."""

    patches: Tensor
    texts: Batch


@dataclass(frozen=True)
class Patches:
    """An image of 9 patches, 3 of them objects with a type and a colour, and the question which colour one type has.

    A patch holds 2 at its type and 2 at its colour, with normal noise of standard deviation `noise`, on colours `colour_noise`;
    behind the 9 come `sinks` constant ones without noise. An object has its type's expected colour with probability `prior`.
    Texts are BOS, a place per patch, up to `distractors` pairs of a type and its expected colour, Q, type, A, colour; a batch has
    one number of pairs, drawn from the range with both ends, and no image with probability `without_image`. Raises ValueError for
    numbers that cannot be.

    Tokens: 0 BOS, 1 a place for a patch, 2 Q, 3 A, then `types`, then as many colours.

    Roles: `bos`, `image`, `object`, `asked` (its patch), `background`, `sink`, `distractor`, `ask`, `query`, `mark`
    (A), `answer`.
    Truth: `answer`, `wrong` (the other colours), `expected` [batch] (what the language expects of that type), `posterior` [batch,
    colour] (what the asked patch and the prior tell together), and `surprise`, its minus log at the answer: on average the least
    loss on colours that are as in the language.

    >>> made = Patches(without_image=0.0).sample(4, seed=0, colours="contrary")
    >>> made.patches.shape, bool((made.texts.truth["answer"] != made.texts.truth["expected"]).all())
    (torch.Size([4, 9, 15]), True)
    """

    types: int = 7
    prior: float = 0.8
    noise: float = 0.1
    colour_noise: float = 0.8
    sinks: int = 0
    distractors: tuple[int, int] = (0, 0)
    without_image: float = 0.2
    language: int = 0

    def __post_init__(self) -> None:
        if self.types < 3 or self.sinks < 0 or self.noise < 0 or self.colour_noise <= 0:
            raise ValueError(
                "three objects need three types, and sinks and noise cannot be below 0, nor colours be without noise"
            )
        if not 0 <= self.prior <= 1 or not 0 <= self.without_image <= 1:
            raise ValueError(f"{self.prior} or {self.without_image} is not a probability")
        if not 0 <= self.distractors[0] <= self.distractors[1]:
            raise ValueError(f"{self.distractors} is not a range of numbers of pairs")

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return 4 + 2 * self.types

    @property
    def features(self) -> int:
        """Number of features of a patch: types, colours, and one that only constant patches have."""
        return 2 * self.types + 1

    @cached_property
    def expected(self) -> Ints:
        """The colour that each type is expected to have, by number."""
        return generator(self.language).permutation(self.types)

    def sample(
        self,
        count: int,
        seed: int,
        step: int = 0,
        colours: Literal["language", "contrary", "consistent"] = "language",
        image: bool | None = None,
    ) -> Patchwork:
        """Return `count` examples; colours as in the language, or never, or always the expected ones.

        `image` says whether there is one; None draws it.
        """
        rng = generator(seed, step)
        rows = np.arange(count)[:, None]
        kinds = shuffles(rng, count, 0, self.types)[:, :3]
        share = {"language": self.prior, "contrary": 0.0, "consistent": 1.0}[colours]
        usual = rng.random((count, 3)) < share
        other = (self.expected[kinds] + rng.integers(1, self.types, (count, 3))) % self.types
        colour = np.where(usual, self.expected[kinds], other)
        where = shuffles(rng, count, 0, 9)[:, :3]
        patches = self._paint(rng, kinds, colour, where)
        seen = bool(rng.random() >= self.without_image) if image is None else image
        pairs = int(rng.integers(self.distractors[0], self.distractors[1] + 1))
        told = rng.integers(0, self.types, (count, pairs))
        said = 4 + np.stack([told, self.types + self.expected[told]], -1).reshape(count, 2 * pairs)
        slots = (9 + self.sinks) * seen
        ids = np.full((count, 1 + slots + 2 * pairs + 4), IMAGE)
        ids[:, 0], ids[:, 1 + slots : -4] = BOS, said
        ids[:, -4:] = np.stack(
            [np.full(count, QUESTION), 4 + kinds[:, 0], np.full(count, ANSWER), self._word(colour[:, 0])], 1
        )
        posterior = self._posterior(patches[rows[:, 0], where[:, 0]], kinds[:, 0], seen)
        surprise = np.zeros(ids.shape, dtype=np.float32)
        surprise[:, -1] = -np.log(posterior[rows[:, 0], colour[:, 0]])
        place = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        image_place = (place >= 1) & (place <= slots)
        objects, asked = np.zeros_like(image_place), np.zeros_like(image_place)
        if seen:
            objects[rows, 1 + where] = True
            asked[rows, 1 + where[:, :1]] = True
        sink = image_place & (place > 9)
        end = ids.shape[1] - 1
        roles = {"bos": place == 0, "image": image_place, "object": objects, "asked": asked, "sink": sink}
        roles["background"] = image_place & ~objects & ~sink
        roles["distractor"] = (place > slots) & (place < end - 3)
        roles |= {"ask": place == end - 3, "query": place == end - 2, "mark": place == end - 1, "answer": place == end}
        wrong = (colour[:, :1] + np.arange(1, self.types)) % self.types
        truth = {
            "answer": self._word(colour[:, 0]),
            "wrong": self._word(wrong),
            "posterior": posterior,
            "surprise": surprise,
        }
        truth["expected"] = self._word(self.expected[kinds[:, 0]])
        shown = torch.from_numpy(patches.astype(np.float32))[:, :slots]
        return Patchwork(shown, to_batch(ids, place == end, roles, truth))

    def _word(self, colour: Ints) -> Ints:
        return 4 + self.types + colour

    def _paint(self, rng: np.random.Generator, kinds: Ints, colour: Ints, where: Ints) -> Floats:
        count = len(kinds)
        spread = np.repeat([self.noise, self.colour_noise, 0.0], [self.types, self.types, 1])
        patches = rng.standard_normal((count, 9 + self.sinks, self.features)) * spread
        rows = np.arange(count)[:, None]
        patches[rows, where, kinds] += 2
        patches[rows, where, self.types + colour] += 2
        patches[:, 9:] = 0.0
        patches[:, 9:, -1] = 2.0
        return patches

    def _posterior(self, patch: Floats, kind: Ints, seen: bool) -> Floats:
        """Return the probability of each colour, [batch, colour], of who knows which patch is asked for."""
        usual = np.arange(self.types) == self.expected[kind][:, None]
        logs = np.log(
            np.where(usual, self.prior, (1 - self.prior) / (self.types - 1)) + 1e-300
        )  # a prior of 0 or 1 is finite
        if seen:
            # The squared distance to 2 at a colour differs between colours in this only.
            logs = logs + 2 * patch[:, self.types : 2 * self.types] / self.colour_noise**2
        odds = np.exp(logs - logs.max(1, keepdims=True))
        return odds / odds.sum(1, keepdims=True)
