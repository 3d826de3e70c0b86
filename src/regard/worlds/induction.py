"""Repetition that only an induction head can tell, and its control."""

from dataclasses import dataclass

import numpy as np

from .batch import Batch
from .draw import generator, shuffles, to_batch


@dataclass(frozen=True)
class Induction:
    """Random tokens of which one stretch comes twice: BOS, prefix, stretch, gap, the stretch again, rest.

    Lengths of stretch (`periods`, both ends included), gap and prefix are drawn for each text, because at one distance between
    the two a model learns to look that far back, and no induction head. Within a text no token but those of the stretch occurs
    twice. BOS is token 0. Scored is the second stretch without its first token, which nothing foretells. Raises ValueError if
    the longest stretch does not fit twice, or there are fewer symbols than places.

    Roles: `bos`, `first` and `second` (the stretches), `other`. Truth: `source`, `surprise` (0 where scored), `period`, `gap`,
    `prefix`, `offset` (period plus gap), each [batch].

    >>> language = Induction(length=32)
    >>> batch, control = language.sample(3, seed=0), language.control(3, seed=0)
    >>> second, source = batch.roles["second"], batch.truth["source"].clamp(min=0)
    >>> bool((batch.ids == batch.ids.gather(1, source))[second].all())
    True
    >>> bool((control.ids == control.ids.gather(1, source))[second].any())
    False
    """

    length: int = 32
    symbols: int = 31
    periods: tuple[int, int] = (6, 13)

    def __post_init__(self) -> None:
        shortest, longest = self.periods
        if not 2 <= shortest <= longest or 2 * longest >= self.length:
            raise ValueError(
                f"stretches of {shortest} to {longest} tokens do not fit twice in {self.length} tokens with BOS"
            )
        if self.symbols < self.length - 1:
            raise ValueError(
                f"{self.length} tokens need {self.length - 1} symbols so that no other repeats, not {self.symbols}"
            )

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self.symbols + 1

    def sample(self, count: int, seed: int, step: int = 0) -> Batch:
        """Return `count` texts with a repetition, ids [batch, token]."""
        return self._lay(count, seed, step, repeat=True)

    def control(self, count: int, seed: int, step: int = 0) -> Batch:
        """Return the texts of `sample` with new tokens in place of the repetition, and the same truth; nothing is scored.

        Weights at `source` on these texts are what looking back by a fixed distance gives: subtract them from an induction score.
        """
        return self._lay(count, seed, step, repeat=False)

    def _lay(self, count: int, seed: int, step: int, repeat: bool) -> Batch:
        rng = generator(seed, step)
        period = rng.integers(self.periods[0], self.periods[1] + 1, size=(count, 1))
        spare = self.length - 1 - 2 * period
        gap = rng.integers(0, spare + 1)  # before the prefix, so that no distance is much likelier than another
        prefix = rng.integers(0, spare - gap + 1)
        offset = period + gap
        fresh = shuffles(rng, count, 1, self.vocabulary)
        place = np.arange(self.length)
        first = (place > prefix) & (place <= prefix + period)
        second = (place > prefix + offset) & (place <= prefix + offset + period)
        source = np.where(second, place - offset, -1)
        drawn = np.where(second & repeat, source, place) - 1
        ids = np.where(place == 0, 0, np.take_along_axis(fresh, np.maximum(drawn, 0), axis=1))
        scored = second & (place > prefix + offset + 1) & repeat
        roles = {"bos": np.broadcast_to(place == 0, ids.shape), "first": first, "second": second}
        roles["other"] = ~(first | second | (place == 0))
        truth = {"source": source, "surprise": np.zeros(ids.shape, dtype=np.float32)}
        lengths = {"period": period, "gap": gap, "prefix": prefix, "offset": offset}
        return to_batch(ids, scored, roles, truth | {name: value[:, 0] for name, value in lengths.items()})
