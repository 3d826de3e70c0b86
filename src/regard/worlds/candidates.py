"""Three ways to choose among candidates, two of which share an algorithm."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .batch import Batch
from .draw import Ints, generator, places, shuffles, to_batch

TASKS = ("exclude", "paired", "compare")


@dataclass(frozen=True)
class Candidates:
    """Candidates among filler, a token that says what to do, and the answer.

    `exclude`: names come once, then all but one of them again; the answer is the one left over. With two candidates this is
    indirect-object identification. `paired`: keys, each with its value behind it, then one of the keys; the answer is its value.
    `compare`: two numbers; the answer is the larger. `mixture`: each text is of one of these. Each has its own symbols. What
    counts lies at random places, in order. Raises ValueError if a text is too short or symbols are too few.

    Tokens: 0 is BOS, 1 to 3 say what to do, then filler, then `symbols` each of names, keys, values and numbers.

    Roles: `bos`, `filler`, `candidate`, `repeated`, `key`, `query` (the key asked for), `ask` (what says what to do), `answer`.
    Truth: `answer`, `wrong` [batch, candidates - 1], `task` [batch] (0, 1, 2 in the order above), `surprise` (0 where scored),
    and a second text that differs in one token so that a wrong candidate is right: `corrupted` [batch, token], with the wrong
    answer at its end, and `corrupted_answer` [batch].

    >>> batch = Candidates("exclude").sample(3, seed=0)
    >>> repeated, candidate = batch.roles["repeated"], batch.roles["candidate"]
    >>> int(candidate.sum(1)[0]), int(repeated.sum(1)[0])
    (3, 2)
    """

    task: Literal["exclude", "paired", "compare", "mixture"] = "mixture"
    length: int = 24
    candidates: int = 3
    symbols: int = 16
    filler: int = 8

    def __post_init__(self) -> None:
        if self.task not in (*TASKS, "mixture"):
            raise ValueError(f"no task {self.task!r}; there are {', '.join(TASKS)} and mixture")
        if not 2 <= self.candidates <= self.symbols or self.symbols < 3:
            raise ValueError(f"{self.candidates} candidates cannot be drawn from {self.symbols} symbols")
        if self.length < 2 * self.candidates + 4:
            raise ValueError(f"{self.candidates} candidates need {2 * self.candidates + 4} tokens, not {self.length}")

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return 4 + self.filler + 4 * self.symbols

    def alphabet(self, kind: Literal["names", "keys", "values", "numbers"]) -> range:
        """Return the token ids of one kind; numbers are in order."""
        start = 4 + self.filler + ("names", "keys", "values", "numbers").index(kind) * self.symbols
        return range(start, start + self.symbols)

    def sample(self, count: int, seed: int, step: int = 0) -> Batch:
        """Return `count` texts, ids [batch, token]."""
        rng = generator(seed, step)
        task = rng.integers(0, 3, count) if self.task == "mixture" else np.full(count, TASKS.index(self.task))
        ids = rng.integers(4, 4 + self.filler, (count, self.length))
        ids[:, 0], ids[:, -2] = 0, task + 1
        corrupted = ids.copy()
        roles = {name: np.zeros(ids.shape, dtype=bool) for name in ("candidate", "repeated", "key", "query")}
        answers = np.full((count, self.candidates), -1)
        for number, make in enumerate((self._exclude, self._paired, self._compare)):
            rows = np.flatnonzero(task == number)
            if len(rows) == 0:
                continue
            core, other, parts, answers_of = make(rng, len(rows))
            where = places(rng, len(rows), core.shape[1], 1, self.length - 2)
            ids[rows[:, None], where] = core
            corrupted[rows[:, None], where] = other
            answers[rows, : answers_of.shape[1]] = answers_of
            for name, columns in parts.items():
                roles[name][rows[:, None], where[:, columns]] = True
        ids[:, -1], corrupted[:, -1] = answers[:, 0], answers[:, 1]
        place = np.broadcast_to(np.arange(self.length), ids.shape)
        roles |= {"bos": place == 0, "ask": place == self.length - 2, "answer": place == self.length - 1}
        roles["filler"] = (ids >= 4) & (ids < 4 + self.filler)
        truth = {"answer": answers[:, 0], "wrong": answers[:, 1:], "task": task, "corrupted": corrupted}
        truth |= {"corrupted_answer": answers[:, 1], "surprise": np.zeros(ids.shape, dtype=np.float32)}
        return to_batch(ids, place == self.length - 1, roles, truth)

    def _exclude(self, rng: np.random.Generator, count: int) -> "_Made":
        n, names = self.candidates, self.alphabet("names")
        drawn = shuffles(rng, count, names.start, names.stop)[:, :n]
        order = shuffles(rng, count, 0, n)
        shown = np.take_along_axis(drawn, order, axis=1)
        again = shuffles(rng, count, 1, n)  # drawn[0] is the answer
        repeated = np.take_along_axis(drawn, again, axis=1)
        swapped = np.where(again == 1, drawn[:, :1], repeated)  # drawn[1] is left over instead
        parts = {"candidate": list(range(n)), "repeated": list(range(n, 2 * n - 1))}
        return np.hstack([shown, repeated]), np.hstack([shown, swapped]), parts, drawn

    def _paired(self, rng: np.random.Generator, count: int) -> "_Made":
        n, keys, values = self.candidates, self.alphabet("keys"), self.alphabet("values")
        key = shuffles(rng, count, keys.start, keys.stop)[:, :n]
        value = shuffles(rng, count, values.start, values.stop)[:, :n]
        order = shuffles(rng, count, 0, n)
        pairs = np.stack([np.take_along_axis(x, order, axis=1) for x in (key, value)], -1).reshape(count, -1)
        parts = {"key": list(range(0, 2 * n, 2)), "candidate": list(range(1, 2 * n, 2)), "query": [2 * n]}
        return np.hstack([pairs, key[:, :1]]), np.hstack([pairs, key[:, 1:2]]), parts, value

    def _compare(self, rng: np.random.Generator, count: int) -> "_Made":
        start = self.alphabet("numbers").start
        # The smaller is not the smallest number there is, so that a still smaller one can take the larger one's place.
        pair = places(rng, count, 2, 1, self.symbols)
        below = rng.integers(0, pair[:, :1])
        larger = rng.integers(0, 2, (count, 1)) == 0
        small, large = pair[:, :1], pair[:, 1:]
        core = np.where(larger, np.hstack([large, small]), np.hstack([small, large]))
        other = np.where(larger, np.hstack([below, small]), np.hstack([small, below]))
        return start + core, start + other, {"candidate": [0, 1]}, start + np.hstack([large, small])


# What counts, the same with one token changed, columns by role, and the answer before the wrong candidates.
_Made = tuple[Ints, Ints, dict[str, list[int]], Ints]
