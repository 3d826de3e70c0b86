"""Arithmetic modulo a prime, with all pairs split in two."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .batch import Batch
from .draw import generator, to_batch


@dataclass(frozen=True)
class Modular:
    """Texts `a b = c` with c = a op b modulo the prime `p`; `fraction` of all pairs is for training.

    An `unordered` split keeps (a, b) and (b, a) on one side; under an `ordered` one, half of the held-out sums have their mirror
    image in training, and commutativity alone reaches them. Tokens 0 to p - 1 are numbers, token p is `=`. Raises ValueError if
    `p` is no prime, and for an unordered split of an operation that does not commute.

    Roles: `operand`, `equals`, `answer`. Truth: `answer`, `a`, `b`, `surprise` (0 where scored), `mirrored` [batch] (whether
    b op a is in training).

    >>> language = Modular(p=7)
    >>> batch = language.train()
    >>> len(batch) + len(language.held_out()), bool(((batch.truth["a"] + batch.truth["b"]) % 7 == batch.truth["answer"]).all())
    (49, True)
    """

    p: int = 97
    operation: Literal["+", "-", "*", "/"] = "+"
    split: Literal["unordered", "ordered"] = "unordered"
    fraction: float = 0.5
    language: int = 0

    def __post_init__(self) -> None:
        if self.p < 2 or any(self.p % d == 0 for d in range(2, int(self.p**0.5) + 1)):
            raise ValueError(f"{self.p} is not a prime")
        if self.operation not in "+-*/" or self.split not in ("unordered", "ordered"):
            raise ValueError(f"no operation {self.operation!r} or no split {self.split!r}")
        if self.split == "unordered" and self.operation in "-/":
            raise ValueError(f"a {self.operation} b is not b {self.operation} a: an unordered split is for + and *")

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self.p + 1

    @cached_property
    def in_training(self) -> NDArray[np.bool_]:
        """Which pairs are for training, [a, b]; division has no b = 0."""
        rng = generator(self.language)
        kept = np.tile(np.arange(self.p) > 0, (self.p, 1)) if self.operation == "/" else np.ones((self.p, self.p), bool)
        if self.split == "unordered":
            kept = np.triu(kept)
        pairs = np.flatnonzero(kept)
        chosen = np.zeros(self.p**2, dtype=bool)
        chosen[rng.permutation(pairs)[: round(self.fraction * len(pairs))]] = True
        table = chosen.reshape(self.p, self.p)
        return table | table.T if self.split == "unordered" else table

    def train(self) -> Batch:
        """Return all training pairs, ids [batch, 4]."""
        return self._write(np.argwhere(self.in_training))

    def held_out(self) -> Batch:
        """Return all other pairs, ids [batch, 4]."""
        held = ~self.in_training
        if self.operation == "/":
            held[:, 0] = False
        return self._write(np.argwhere(held))

    def sample(self, count: int, seed: int, step: int = 0) -> Batch:
        """Return `count` training pairs, drawn with repetition, ids [batch, 4]."""
        pairs = np.argwhere(self.in_training)
        return self._write(pairs[generator(seed, step).integers(0, len(pairs), count)])

    def _write(self, pairs: NDArray[np.int64]) -> Batch:
        a, b = pairs.T
        match self.operation:
            case "+":
                c = (a + b) % self.p
            case "-":
                c = (a - b) % self.p
            case "*":
                c = a * b % self.p
            case "/":
                inverse = np.array([0, *(pow(n, -1, self.p) for n in range(1, self.p))])
                c = a * inverse[b] % self.p
        ids = np.stack([a, b, np.full_like(a, self.p), c], 1)
        place = np.broadcast_to(np.arange(4), ids.shape)
        roles = {"operand": place < 2, "equals": place == 2, "answer": place == 3}
        truth = {"answer": c, "a": a, "b": b, "mirrored": self.in_training[b, a]}
        return to_batch(ids, place == 3, roles, truth | {"surprise": np.zeros(ids.shape, dtype=np.float32)})
