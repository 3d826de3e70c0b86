"""A language in which a head has nothing to do most of the time, so that it may grow a sink."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .batch import Batch
from .draw import by_probability, generator, to_batch


@dataclass(frozen=True)
class BigramBackcopy:
    """A bigram chain in which a trigger is followed by the token before it.

    Token 0 is BOS, at index `bos` of each text (None: there is none); 1 to `triggers` are triggers, the rest plain symbols.
    Next tokens are drawn from the row of the last one, and rows are drawn from a Dirichlet distribution by the seed `language`.
    The chain goes on behind BOS as if it were not there. Its first token is not scored. Raises ValueError for numbers that leave
    no text or no plain symbol.

    Roles: `bos`, `trigger`, `copied` (what follows a trigger), `plain`. Truth: `source`, `surprise`.

    >>> batch = BigramBackcopy(length=16).sample(4, seed=0)
    >>> batch.ids.shape
    torch.Size([4, 16])
    >>> copied, source = batch.roles["copied"], batch.truth["source"]
    >>> bool((batch.ids[copied] == batch.ids.gather(1, source.clamp(min=0))[copied]).all())
    True
    """

    length: int = 32
    symbols: int = 31
    triggers: int = 3
    concentration: float = 0.3
    bos: int | None = 0
    language: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.triggers < self.symbols:
            raise ValueError(
                f"of {self.symbols} symbols, {self.triggers} cannot be triggers: some must be and some not"
            )
        if self.length < 2 or not 0 <= (self.bos or 0) < self.length:
            raise ValueError(f"BOS at {self.bos} is not in a text of {self.length} tokens, or nothing else is")

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self.symbols + 1

    @cached_property
    def transitions(self) -> NDArray[np.float64]:
        """Probabilities of the next symbol, [symbol, next], symbols counted from token 1; rows of triggers are not used."""
        rng = generator(self.language)
        return rng.dirichlet(np.full(self.symbols, self.concentration), size=self.symbols)

    @cached_property
    def start(self) -> NDArray[np.float64]:
        """How often each symbol is the one that a draw depends on, [symbol], in the long run; 0 for triggers."""
        kept = self.transitions[self.triggers :, self.triggers :].copy()
        back = self.transitions[self.triggers :, : self.triggers].sum(1)
        kept[np.diag_indices_from(kept)] += back  # a trigger leads back to where it was drawn
        still = np.eye(len(kept)) - kept.T
        still[0] = 1.0  # the equations are dependent: one of them gives way to the sum
        plain = np.linalg.solve(still, np.eye(len(kept))[0])
        return np.concatenate([np.zeros(self.triggers), plain])

    @property
    def entropy(self) -> float:
        """The least loss per token in the long run, in nats, in closed form."""
        logs = np.log(self.transitions, where=self.transitions > 0, out=np.zeros_like(self.transitions))
        nats = -(self.transitions * logs).sum(1)
        tokens = 1 + self.transitions[:, : self.triggers].sum(1)  # a trigger brings a copy, which costs nothing
        return float(self.start @ nats / (self.start @ tokens))

    def sample(self, count: int, seed: int, step: int = 0) -> Batch:
        """Return `count` texts, ids [batch, token]."""
        rng = generator(seed, step)
        tokens = self.length - (self.bos is not None)
        chain = np.empty((count, tokens), dtype=np.int64)
        chain[:, 0] = by_probability(rng, np.tile(self.start, (count, 1)))
        probability = np.ones((count, tokens))
        probability[:, 0] = self.start[chain[:, 0]]
        for t in range(1, tokens):
            last = chain[:, t - 1]
            drawn = by_probability(rng, self.transitions[last])
            again = last < self.triggers
            chain[:, t] = np.where(again, chain[:, t - 2], drawn)
            probability[:, t] = np.where(again, 1.0, self.transitions[last, drawn])
        trigger = chain < self.triggers
        copied = np.pad(trigger[:, :-1], ((0, 0), (1, 0)))
        source = np.where(copied, np.arange(tokens) - 2, -1)
        surprise = -np.log(probability)
        scored = np.ones_like(copied)
        scored[:, 0] = False
        ids = chain + 1
        if self.bos is not None:
            ids = np.insert(ids, self.bos, 0, axis=1)
            scored, copied = (np.insert(tokens, self.bos, False, axis=1) for tokens in (scored, copied))
            source = np.insert(source + (source >= self.bos), self.bos, -1, axis=1)
            surprise = np.insert(surprise, self.bos, 0.0, axis=1)
        roles = {"bos": ids == 0, "trigger": (ids > 0) & (ids <= self.triggers), "copied": copied}
        roles["plain"] = ids > self.triggers
        return to_batch(ids, scored, roles, {"source": source, "surprise": surprise.astype(np.float32)})
