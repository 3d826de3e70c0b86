"""Items and labels as vectors, to be learnt from the examples before a question: which of two places is listened to."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .draw import generator


@dataclass(frozen=True, eq=False)
class Shots:
    """Questions with their examples.

    Shapes: `vectors` [batch, token, dim] are item, label, item, label, ..., question; `label` [batch] is the right one. In
    `Bursts.rivals`, `other` [batch] is that of the second place, and it is None elsewhere.
    """

    vectors: Tensor
    label: Tensor
    other: Tensor | None = None


@dataclass(frozen=True)
class Bursts:
    """`slots` items with their labels, in bursts of `burst` from one class each, and then an item of a class that was shown.

    The label of the question is wanted. Classes have a fixed label each. An item is its class's mean with noise,
    `(mu + noise eps) / sqrt(1 + noise^2)`, where means, noise and labels are drawn with variance `1 / dim`, and so have norm 1.
    `asked` are the slots of which one has the question's class, all alike where it is empty: training data that prefer places.
    Source: arXiv 2502.01951, section 5, after arXiv 2312.03002. The paper's code draws them with standard deviation `1 / dim`, a
    factor of `sqrt(dim)` less. Raises ValueError for numbers that make no such text.

    >>> shots = Bursts().rivals(3, 0, 7, seed=0)
    >>> bool(torch.equal(shots.vectors[:, 0], shots.vectors[:, 14]) and (shots.label != shots.other).all())
    True
    """

    slots: int = 8
    burst: int = 4
    classes: int = 2048
    labels: int = 32
    dim: int = 64
    noise: float = 0.75
    asked: tuple[int, ...] = ()
    language: int = 0

    def __post_init__(self) -> None:
        if self.slots < 3 or self.burst < 1 or self.slots % self.burst or self.labels < self.slots:
            raise ValueError(
                f"{self.slots} slots are no bursts of {self.burst}, or more than the {self.labels} labels, or fewer than 3"
            )
        if any(not 0 <= slot < self.slots for slot in self.asked):
            raise ValueError(f"asked names slots 0 to {self.slots - 1}, not {self.asked}")

    @property
    def length(self) -> int:
        """Number of vectors of a text."""
        return 2 * self.slots + 1

    @cached_property
    def _known(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means [class, dim], the label of each class [class], and label vectors [label, dim]."""
        rng = generator(self.language)
        means = rng.normal(size=(self.classes, self.dim)) / self.dim**0.5
        of = rng.integers(0, self.labels, self.classes)
        return means, of, rng.normal(size=(self.labels, self.dim)) / self.dim**0.5

    def sample(self, count: int, seed: int, step: int = 0) -> Shots:
        """Return `count` questions about the classes that are there to be learnt."""
        rng = generator(seed, step)
        means, of, _ = self._known
        kinds = rng.integers(0, self.classes, (count, self.slots // self.burst))
        order = rng.permuted(np.tile(np.arange(self.slots) // self.burst, (count, 1)), axis=1)
        shown = np.take_along_axis(kinds, order, 1)
        slot = rng.choice(self.asked, count) if self.asked else rng.integers(0, self.slots, count)
        wanted = shown[np.arange(count), slot]
        return self._shots(rng, means[shown], of[shown], means[wanted], of[wanted])

    def rivals(self, count: int, first: int, second: int, seed: int) -> Shots:
        """Return questions whose item stands in two slots with different labels; `label` is the first's and `other` the second's.

        All classes are new and have one slot each, but for those two, so that nothing but their places tells them apart. Which
        slots the paper fills with what is not established.
        """
        rng = generator(seed, 1 + first * self.slots + second)
        means = rng.normal(size=(count, self.slots, self.dim)) / self.dim**0.5
        means[:, second] = means[:, first]
        said = rng.permuted(np.tile(np.arange(self.labels), (count, 1)), axis=1)[:, : self.slots]
        made = self._shots(rng, means, said, means[:, first], said[:, first], copied=(first, second))
        return Shots(made.vectors, made.label, torch.from_numpy(said[:, second].copy()))

    def _shots(
        self,
        rng: np.random.Generator,
        means: np.ndarray,
        said: np.ndarray,
        asked: np.ndarray,
        label: np.ndarray,
        copied: tuple[int, int] | None = None,
    ) -> Shots:
        every = np.concatenate([means, asked[:, None]], 1)
        noisy = every + self.noise * rng.normal(size=every.shape) / self.dim**0.5
        noisy /= (1 + self.noise**2) ** 0.5
        if copied is not None:
            noisy[:, copied[1]] = noisy[:, copied[0]]
        vectors = np.empty((len(means), self.length, self.dim), dtype=np.float32)
        vectors[:, ::2], vectors[:, 1::2] = noisy, self._known[2][said]
        return Shots(torch.from_numpy(vectors), torch.from_numpy(np.ascontiguousarray(label)))
