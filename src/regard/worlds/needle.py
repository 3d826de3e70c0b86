"""Long documents with a fact to find in them."""

from dataclasses import dataclass

import numpy as np

from .batch import Batch
from .draw import generator, places, shuffles, to_batch


@dataclass(frozen=True)
class Needle:
    """Filler with `needles` facts in it, each a mark, a key and `span` value tokens; then one key, whose value is asked for.

    The asked one lies at `depth`, from 0 for the beginning to 1 for the end; None draws it. The filler's words are drawn by rank
    r with probability proportional to 1/r. Token 0 is BOS, 1 marks a fact, 2 asks; then `words` of filler, `keys` and `values`,
    which occur nowhere else. Raises ValueError if the text is too short, the depth is not in 0 to 1, or keys are too few.

    Roles: `bos`, `filler`, `mark`, `key`, `value`, `needle` (all of the asked fact), `ask`, `query`, `answer`. Truth: `start`
    [batch] and `depth` [batch] of the asked fact, `answer` (the value's first token), `wrong` [batch, needles - 1] (those of the
    others), `source`, `surprise` (0 where scored).

    >>> batch = Needle(length=256, depth=0.5, span=2).sample(2, seed=0)
    >>> found = batch.ids.gather(1, batch.truth["source"].clamp(min=0))
    >>> bool((found == batch.ids)[batch.roles["answer"]].all())
    True
    """

    length: int = 1024
    needles: int = 1
    span: int = 1
    depth: float | None = None
    words: int = 128
    keys: int = 32
    values: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.needles <= self.keys or self.needles > self.values or self.span < 1:
            raise ValueError(f"{self.needles} facts of {self.span} tokens need as many of {self.keys} keys and values")
        if self._items < self.needles:
            raise ValueError(f"{self.needles} facts of {self.span + 2} tokens do not fit in {self.length} tokens")
        if self.depth is not None and not 0 <= self.depth <= 1:
            raise ValueError(f"a depth is from 0 to 1, not {self.depth}")

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return 3 + self.words + self.keys + self.values

    @property
    def _items(self) -> int:
        """Number of filler words and facts, between BOS and the question."""
        return self.length - 1 - (self.span + 2) - self.needles * (self.span + 1)

    def sample(self, count: int, seed: int, step: int = 0) -> Batch:
        """Return `count` documents, ids [batch, token]."""
        rng = generator(seed, step)
        wide, rows = self.span + 2, np.arange(count)[:, None]
        ids = filler(rng, count, self.length, self.words, first=3)
        key = shuffles(rng, count, 3 + self.words, 3 + self.words + self.keys)[:, : self.needles]
        low = 3 + self.words + self.keys
        value = rng.integers(low, self.vocabulary, (count, self.needles, self.span))
        value[..., 0] = shuffles(rng, count, low, self.vocabulary)[
            :, : self.needles
        ]  # facts differ from the first token on
        item = shuffles(rng, count, 0, self._items)
        if self.depth is not None:
            asked = round(self.depth * (self._items - 1))
            rest = item[item != asked].reshape(count, -1)
            item = np.hstack([np.full((count, 1), asked), rest])
        item = item[:, : self.needles]
        start = (
            1 + item + np.argsort(np.argsort(item, axis=1), axis=1) * (wide - 1)
        )  # facts before it are longer than words
        fact = np.concatenate([np.ones((count, self.needles, 1), dtype=np.int64), key[..., None], value], axis=2)
        ids[rows[..., None], start[..., None] + np.arange(wide)] = fact
        ids[:, 0], ids[:, -wide:] = 0, fact[:, 0]
        ids[:, -wide] = 2
        roles = {name: np.zeros(ids.shape, dtype=bool) for name in ("mark", "key", "value", "needle")}
        roles["mark"][rows, start] = True
        roles["key"][rows, start + 1] = True
        roles["value"][rows[..., None], start[..., None] + 2 + np.arange(self.span)] = True
        roles["needle"][rows, start[:, :1] + np.arange(wide)] = True
        place = np.broadcast_to(np.arange(self.length), ids.shape)
        roles |= {"bos": place == 0, "ask": place == self.length - wide, "query": place == self.length - wide + 1}
        roles |= {"answer": place >= self.length - self.span, "filler": (ids >= 3) & (ids < 3 + self.words)}
        first = start[:, :1]
        source = np.where(roles["answer"], place - (self.length - wide) + first, -1)
        depth = (first[:, 0] - 1) / max(self.length - 1 - 2 * wide, 1)
        truth = {"start": first[:, 0], "depth": depth, "answer": value[:, 0, 0], "wrong": value[:, 1:, 0]}
        truth |= {"source": source, "surprise": np.zeros(ids.shape, dtype=np.float32)}
        return to_batch(ids, roles["answer"], roles, truth)


@dataclass(frozen=True)
class Aggregation:
    """Filler in which `items` are mentioned; the one mentioned most often is asked for.

    It comes `mentions` times, each other one at least once and at least `margin` times less. Where they lie is drawn, so
    that no place tells. Token 0 is BOS, 1 asks; then `words` of filler as in `Needle`, and `items`. Raises ValueError if the
    text is too short or the margin leaves no mention.

    Roles: `bos`, `filler`, `item`, `mention` (those of the answer), `ask`, `answer`. Truth: `answer`, `wrong` [batch, items - 1],
    `counts` [batch, item], `surprise` (0 where scored).

    >>> batch = Aggregation(length=128).sample(3, seed=0)
    >>> bool((batch.truth["counts"].argmax(1) + 2 + 128 == batch.truth["answer"]).all())
    True
    """

    length: int = 1024
    items: int = 6
    mentions: int = 8
    margin: int = 2
    words: int = 128

    def __post_init__(self) -> None:
        if self.items < 2 or not 1 <= self.margin < self.mentions:
            raise ValueError(f"of {self.items} items, none can lead by {self.margin} with {self.mentions} mentions")
        if self.length - 3 < self.items * self.mentions:
            raise ValueError(
                f"{self.length} tokens are too few for {self.items} items of up to {self.mentions} mentions"
            )

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return 2 + self.words + self.items

    def sample(self, count: int, seed: int, step: int = 0) -> Batch:
        """Return `count` documents, ids [batch, token]."""
        rng = generator(seed, step)
        order = shuffles(rng, count, 0, self.items)  # the first leads
        often = rng.integers(1, self.mentions - self.margin + 1, (count, self.items))
        often[:, 0] = self.mentions
        counts = np.empty_like(often)
        np.put_along_axis(counts, order, often, axis=1)
        ids = filler(rng, count, self.length, self.words, first=2)
        most = self.items * self.mentions
        item = np.repeat(np.arange(self.items), self.mentions)
        shown = np.tile(np.arange(self.mentions), self.items) < np.take(counts, item, axis=1)
        where = rng.permuted(places(rng, count, most, 1, self.length - 2), axis=1)
        row, column = np.nonzero(shown)
        ids[row, where[row, column]] = 2 + self.words + item[column]
        answer = 2 + self.words + order[:, 0]
        ids[:, 0], ids[:, -2], ids[:, -1] = 0, 1, answer
        place = np.broadcast_to(np.arange(self.length), ids.shape)
        inside = place < self.length - 2
        roles = {"bos": place == 0, "ask": place == self.length - 2, "answer": place == self.length - 1}
        roles["item"] = inside & (ids >= 2 + self.words)
        roles["mention"] = inside & (ids == answer[:, None])
        roles["filler"] = (ids >= 2) & (ids < 2 + self.words)
        truth = {"answer": answer, "wrong": 2 + self.words + order[:, 1:], "counts": counts}
        truth["surprise"] = np.zeros(ids.shape, dtype=np.float32)
        return to_batch(ids, place == self.length - 1, roles, truth)


def filler(rng: np.random.Generator, count: int, length: int, words: int, first: int) -> np.ndarray:
    """Return words [count, length] from token `first` on, by rank r with probability proportional to 1/r."""
    share = 1 / np.arange(1, words + 1)
    return first + rng.choice(words, (count, length), p=share / share.sum())
