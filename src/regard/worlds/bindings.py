"""Names that are bound to values in one token each, and then asked for: what one look at the right place answers."""

from dataclasses import dataclass

import numpy as np

from .batch import Batch
from .draw import generator, shuffles, to_batch


@dataclass(frozen=True)
class Bindings:
    """BOS, `shown` tokens that each bind another name to a value, and then names, each followed by its value.

    One attention layer can look at the token that binds a name, which no map can do that does not depend on the text. Tokens: 0
    is BOS, then the names, the values, and a token for each pair of them. Scored are the values behind names. Raises ValueError
    if more names are shown than there are, or none.

    Roles: `bos`, `binding`, `name`, `answer`. Truth: `source` (none: -1), `binding` [batch, token] (where an answer's binding
    lies, -1 elsewhere), `surprise` (0 where scored).

    >>> batch = Bindings().sample(4, seed=0)
    >>> bool((batch.truth["binding"] >= 0).sum(1).eq(batch.scored.sum(1)).all())
    True
    """

    names: int = 16
    values: int = 16
    shown: int = 10

    def __post_init__(self) -> None:
        if not 1 <= self.shown <= self.names or self.values < 1:
            raise ValueError(f"of {self.names} names, {self.shown} cannot be bound to one of {self.values} values")

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return 1 + self.names + self.values + self.names * self.values

    def sample(self, count: int, seed: int, step: int = 0) -> Batch:
        """Return `count` texts, ids [batch, token]."""
        rng = generator(seed, step)
        name = shuffles(rng, count, 0, self.names)[:, : self.shown]
        value = rng.integers(0, self.values, (count, self.shown))
        order = shuffles(rng, count, 0, self.shown)
        asked, answer = np.take_along_axis(name, order, 1), np.take_along_axis(value, order, 1)
        pairs = 1 + self.names + self.values + name * self.values + value
        questions = np.stack([1 + asked, 1 + self.names + answer], -1).reshape(count, -1)
        ids = np.concatenate([np.zeros((count, 1), dtype=np.int64), pairs, questions], 1)
        place = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
        behind = place > self.shown
        named, scored = behind & ((place - self.shown) % 2 == 1), behind & ((place - self.shown) % 2 == 0)
        binding = np.full(ids.shape, -1)
        binding[scored] = (1 + order).reshape(-1)
        roles = {"bos": place == 0, "binding": (place > 0) & ~behind, "name": named, "answer": scored}
        nothing = {"source": np.full(ids.shape, -1), "surprise": np.zeros(ids.shape, dtype=np.float32)}
        return to_batch(ids, scored, roles, {"binding": binding, **nothing})
