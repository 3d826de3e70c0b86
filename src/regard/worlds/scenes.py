"""Pictures of little English's objects, with captions and fine-grained questions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, pi, sin
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .batch import Batch
from .draw import generator
from .little_english.english import to_questions
from .little_english.held_out import Split
from .little_english.layout import KINDS, Kind, Thing, caption, lay, question
from .little_english.lexicon import COLOURS, COLUMNS, DRAWN, ROWS
from .little_english.text import Text
from .little_english.tokenizer import words

if TYPE_CHECKING:
    from PIL.Image import Image

RGB = dict(
    zip(
        COLOURS,
        [
            (215, 40, 40),
            (45, 80, 220),
            (40, 150, 60),
            (240, 215, 40),
            (20, 20, 20),
            (250, 250, 250),
            (115, 70, 30),
            (125, 45, 155),
            (250, 150, 190),
            (130, 130, 130),
        ],
        strict=True,
    )
)
BACKGROUND = (205, 195, 165)
_RADIUS = {"tiny": 0.4, "small": 0.55, "big": 0.75, "large": 0.9}  # of half a cell
_FINER = 4  # drawn so much larger, then averaged down, for smooth edges


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures, one question on each, and what is in them.

    `images` [batch, 3, height, width], from 0 to 1. `questions` as of `LittleEnglish.questions`. `captions`, a text each, and
    `things`, the objects of each in the same order. `boxes` [batch, 4, 4] are theirs in pixels: left, top, right, bottom, -1
    where there are fewer than four. `kinds` [batch] counts in `KINDS`. `asked` [batch] is the object in question, -1 for none.
    """

    images: Tensor
    questions: Batch
    captions: Sequence[Text]
    things: Sequence[Sequence[Thing]]
    boxes: Tensor
    kinds: Tensor
    asked: Tensor


@dataclass(frozen=True)
class Scenes:
    """One to four objects on a grid of three by three, drawn, told, and asked for: existence, colour, number, position, relation.

    `prior` is the probability that an object has its typical colour: 1 gives pictures that agree with what a language model
    expects after training with a high prior, 0 gives those that contradict it, None has no prior. Pixels get normal noise of
    standard deviation `noise`. The splits are those of `LittleEnglish`. Raises ValueError for a picture size that three do not
    divide, and for a prior on held-out combinations, of which typical colours are none.

    >>> pictures = Scenes(size=48).sample(4, seed=0)
    >>> pictures.images.shape, pictures.questions.scored.sum(1).tolist()
    (torch.Size([4, 3, 48, 48]), [1, 1, 1, 1])
    """

    split: Split = "train"
    size: int = 48
    prior: float | None = None
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.split not in ("train", "eval"):
            raise ValueError(f"the splits are train and eval, not {self.split!r}")
        if self.size < 12 or self.size % 3:
            raise ValueError(f"a picture of {self.size} pixels does not divide into three cells, or is too small")
        if self.prior is not None and (self.split == "eval" or not 0 <= self.prior <= 1):
            raise ValueError(f"a prior is a probability and for the split train, not {self.prior} for {self.split}")

    @property
    def vocabulary(self) -> int:
        """Number of token ids of the questions."""
        return len(words())

    def sample(self, count: int, seed: int, step: int = 0, kind: Kind | None = None) -> Pictures:
        """Return `count` pictures with a question each, of one kind or of all; `kinds` tells, as one object has no relation."""
        rng = generator(seed, step)
        things = [lay(rng, self.split, self.prior) for _ in range(count)]
        texts = [question(rng, shown, kind or KINDS[rng.integers(len(KINDS))], self.split) for shown in things]
        images = (
            torch.from_numpy(np.stack([np.asarray(draw(shown, self.size)) for shown in things])).permute(0, 3, 1, 2)
            / 255
        )
        if self.noise:
            images = images + self.noise * torch.from_numpy(rng.standard_normal(images.shape, dtype=np.float32))
        boxes = torch.full((count, 4, 4), -1)
        asked = torch.full((count,), -1)
        for row, (shown, text) in enumerate(zip(things, texts, strict=True)):
            boxes[row, : len(shown)] = torch.tensor([box(thing, self.size) for thing in shown])
            queries = [text.text[first:last] for role, first, last in text.spans if role == "query"]
            asked[row] = next((place for place, thing in enumerate(shown) if thing.name in queries), -1)
        kinds = torch.tensor([KINDS.index(text.facts["kind"]) for text in texts])
        return Pictures(
            images.clamp(0, 1), to_questions(texts), [caption(shown) for shown in things], things, boxes, kinds, asked
        )


def draw(things: Sequence[Thing], size: int) -> "Image":
    """Return a picture of a layout, `size` pixels wide and high."""
    from PIL import Image, ImageDraw

    fine = size * _FINER
    image = Image.new("RGB", (fine, fine), BACKGROUND)
    pen = ImageDraw.Draw(image)
    for thing in things:
        x, y, radius = _middle(thing, fine)
        radius -= 1  # a polygon's last pixels are drawn, too
        outline = [(x + radius * a, y + radius * b) for a, b in _OUTLINES[thing.name]()]
        pen.polygon(outline, fill=RGB[thing.colour])
        if thing.name == "ring":
            hole = [(x + radius * a / 2, y + radius * b / 2) for a, b in _circle()]
            pen.polygon(hole, fill=BACKGROUND)
    return image.reduce(_FINER)


def box(thing: Thing, size: int) -> tuple[int, int, int, int]:
    """Return the pixels around an object: left, top, right, bottom, the last two not included."""
    x, y, radius = _middle(thing, size)
    return int(x - radius), int(y - radius), int(-(-(x + radius) // 1)), int(-(-(y + radius) // 1))


def _middle(thing: Thing, size: int) -> tuple[float, float, float]:
    cell = size / len(ROWS)
    return (thing.column + 0.5) * size / len(COLUMNS), (thing.row + 0.5) * cell, _RADIUS[thing.size] * cell / 2


Outline = list[tuple[float, float]]


def _circle() -> Outline:
    return [(cos(2 * pi * k / 48), sin(2 * pi * k / 48)) for k in range(48)]


def _star() -> Outline:
    return [((0.42 if k % 2 else 1) * sin(pi * k / 5), -(0.42 if k % 2 else 1) * cos(pi * k / 5)) for k in range(10)]


def _heart() -> Outline:
    t = [2 * pi * k / 48 for k in range(48)]
    return [(sin(s) ** 3, -(13 * cos(s) - 5 * cos(2 * s) - 2 * cos(3 * s) - cos(4 * s)) / 17) for s in t]


def _cross() -> Outline:
    a, b = 1.0, 0.35
    return [(-b, -a), (b, -a), (b, -b), (a, -b), (a, b), (b, b), (b, a), (-b, a), (-b, b), (-a, b), (-a, -b), (-b, -b)]


# Around the middle, within -1 to 1, y downward.
_OUTLINES: dict[str, Callable[[], Outline]] = dict(
    zip(
        DRAWN,
        [
            _circle,
            lambda: [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
            lambda: [(0, -1), (0.65, -0.2), (0, 1), (-0.65, -0.2)],
            _circle,
            lambda: [(0, -1), (0.9, 0.9), (-0.9, 0.9)],
            _star,
            _cross,
            _heart,
        ],
        strict=True,
    )
)
