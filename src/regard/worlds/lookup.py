"""Key-value pairs, and chains of them."""

from dataclasses import dataclass

import numpy as np

from .batch import Batch
from .draw import generator, shuffles, to_batch


@dataclass(frozen=True)
class Lookup:
    """Pairs of a key and a value in any order, then a key whose value is asked for; with more `hops`, the value's value.

    Each of `chains` leads from its head over `hops` pairs to its tail, all symbols distinct; the head of one is asked for, and
    the answer is its tail. With one hop these are key-value pairs. Token 0 is BOS, token 1 asks. Raises ValueError if there are
    too few symbols, or no two chains.

    Roles: `bos`, `key`, `value`, `ask`, `query` (the key asked for), `answer`. Truth: `answer`, `wrong` [batch, chains - 1] (the
    other tails), `path` [batch, hops] (where the values lie that lead to the answer, in order), `surprise` (0 where scored).

    >>> batch = Lookup(chains=4, hops=2).sample(3, seed=0)
    >>> last = batch.truth["path"][:, -1:]
    >>> bool((batch.ids.gather(1, last)[:, 0] == batch.truth["answer"]).all())
    True
    """

    chains: int = 6
    hops: int = 1
    symbols: int = 64

    def __post_init__(self) -> None:
        if self.chains < 2 or self.hops < 1:
            raise ValueError(
                f"{self.chains} chains of {self.hops} hops leave nothing to look up: 2 and 1 are the least"
            )
        if self.symbols < self.chains * (self.hops + 1):
            raise ValueError(f"{self.chains} chains of {self.hops} hops need {self.chains * (self.hops + 1)} symbols")

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self.symbols + 2

    def sample(self, count: int, seed: int, step: int = 0) -> Batch:
        """Return `count` texts, ids [batch, token]."""
        rng = generator(seed, step)
        used = shuffles(rng, count, 2, self.vocabulary)[:, : self.chains * (self.hops + 1)]
        nodes = used.reshape(count, self.chains, self.hops + 1)
        pairs = np.stack([nodes[:, :, :-1], nodes[:, :, 1:]], -1).reshape(count, -1, 2)
        order = shuffles(rng, count, 0, pairs.shape[1])
        shown = np.take_along_axis(pairs, order[..., None], axis=1).reshape(count, -1)
        # Nodes are drawn at random, so the chain that is asked for can be the first.
        asked = nodes[:, 0]
        ones = np.ones((count, 1), dtype=np.int64)
        ids = np.concatenate([0 * ones, shown, ones, asked[:, :1], asked[:, -1:]], axis=1)
        place = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        end = ids.shape[1] - 1
        roles = {"bos": place == 0, "key": (place % 2 == 1) & (place < end - 2)}
        roles["value"] = (place % 2 == 0) & (place > 0) & (place < end - 1)
        roles |= {"ask": place == end - 2, "query": place == end - 1, "answer": place == end}
        path = 2 * np.argsort(order, axis=1)[:, : self.hops] + 2
        truth = {"answer": asked[:, -1], "wrong": nodes[:, 1:, -1], "path": path}
        return to_batch(ids, place == end, roles, truth | {"surprise": np.zeros(ids.shape, dtype=np.float32)})
