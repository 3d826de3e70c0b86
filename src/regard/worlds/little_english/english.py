"""Little English as batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..batch import Batch
from ..draw import generator, to_batch
from .held_out import Split
from .questions import QUESTIONS
from .text import Text
from .tokenizer import BOS, EOS, PAD, raw_tokenizer, words

# Stories teach what the world is like; what is asked later comes often enough to be learnt.
SHARES = {"story": 0.35, "indirect_object": 0.2, "coloured_objects": 0.15, "choice": 0.15, "layout": 0.15}


@dataclass(frozen=True)
class LittleEnglish:
    """One little world of people, places and objects, told in some two hundred words.

    `split="train"` and `"eval"` share no pair of people that meet and no object of a colour: one in five of these combinations is
    kept for `"eval"`, which has no others. `sample` gives rows to train a language model on, `questions` texts with one word to
    find. Raises ValueError for another split.

    >>> english = LittleEnglish(split="eval")
    >>> batch = english.questions("indirect_object", 4, seed=0)
    >>> batch.scored.sum(1).tolist(), sorted(batch.roles)
    ([1, 1, 1, 1], ['answer', 'bos', 'io', 'object', 'place', 's1', 's2', 'verb'])
    >>> bool((batch.ids[batch.roles["io"]] == batch.truth["answer"]).all())
    True
    """

    split: Split = "train"
    length: int = 128

    def __post_init__(self) -> None:
        if self.split not in ("train", "eval"):
            raise ValueError(f"the splits are train and eval, not {self.split!r}")

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return len(words())

    def documents(self, count: int, seed: int, step: int = 0) -> list[Text]:
        """Return `count` texts of all kinds, with their facts: `kind`, `answer`, `wrong`, `pairs` (the combinations in it)."""
        return self._documents(generator(seed, step), count)

    def sample(self, count: int, seed: int, step: int = 0) -> Batch:
        """Return rows that are full of texts, ids [batch, token]: `<s>`, then texts, each with `</s>` behind it.

        All tokens but the first are scored. Roles: `bos`, `eos`, `answer` (of the questions in them). Truth: `document` [batch,
        token], which text of its row a token is of, -1 for `<s>`.
        """
        rng = generator(seed, step)
        ids = np.full((count, self.length), BOS)
        answer = np.zeros(ids.shape, dtype=bool)
        document = np.full(ids.shape, -1)
        for row in range(count):
            filled, number = 1, 0
            while filled < self.length:
                # A text is some thirty to ninety tokens long.
                for text in self._documents(rng, 1 + (self.length - filled) // 64):
                    tokens, marked = _encode(text)
                    tokens = [*tokens[1:], EOS]
                    end = min(filled + len(tokens), self.length)
                    ids[row, filled:end] = tokens[: end - filled]
                    answer[row, filled:end] = np.array([*marked["answer"][1:], False])[: end - filled]
                    document[row, filled:end] = number
                    filled, number = end, number + 1
        roles = {"bos": ids == BOS, "eos": ids == EOS, "answer": answer}
        return to_batch(ids, np.broadcast_to(np.arange(self.length) > 0, ids.shape), roles, {"document": document})

    def questions(self, kind: str, count: int, seed: int, step: int = 0) -> Batch:
        """Return `count` texts of one kind up to their answer, which alone is scored, ids [batch, token], padded on the right.

        Kinds: `indirect_object`, `coloured_objects`, `choice`, `story`, `layout`. Roles are the parts of the text that are
        filled in, of `indirect_object`: `s1` (the giver), `io` (the other), `s2` (the giver again), `place`, `verb`, `object`,
        `answer`. Truth: `answer` [batch], `wrong` [batch, n], -1 for none. Raises ValueError for another kind.
        """
        if kind not in QUESTIONS:
            raise ValueError(f"no questions {kind!r}; there are {', '.join(QUESTIONS)}")
        rng = generator(seed, step)
        return to_questions([QUESTIONS[kind](rng, self.split) for _ in range(count)])

    def _documents(self, rng: np.random.Generator, count: int) -> list[Text]:
        kinds = rng.choice(list(SHARES), count, p=list(SHARES.values()))
        made = [QUESTIONS[kind](rng, self.split) for kind in kinds]
        return [
            Text(text.text, text.spans, {"question": str(kind), **text.facts})
            for kind, text in zip(kinds, made, strict=True)
        ]


def to_questions(texts: Sequence[Text]) -> Batch:
    """Return texts up to their answer as a batch, padded on the right; what `LittleEnglish.questions` says holds of it."""
    encoded = [_encode(text) for text in texts]
    ends = [marked["answer"].index(True) + 1 for _, marked in encoded]
    names = dict.fromkeys(role for _, marked in encoded for role in marked)
    ids = np.full((len(texts), max(ends)), PAD)
    roles = {name: np.zeros(ids.shape, dtype=bool) for name in names}
    for row, ((tokens, marked), end) in enumerate(zip(encoded, ends, strict=True)):
        ids[row, :end] = tokens[:end]
        for name, places in marked.items():
            roles[name][row, :end] = places[:end]
    most = max(len(text.facts["wrong"]) for text in texts)
    answer = np.array([_id(text.facts["answer"]) for text in texts])
    wrong = np.full((len(texts), most), -1)
    for row, text in enumerate(texts):
        wrong[row, : len(text.facts["wrong"])] = [_id(word) for word in text.facts["wrong"]]
    roles["bos"] = ids == BOS
    return to_batch(ids, roles["answer"], roles, {"answer": answer, "wrong": wrong}, valid=ids != PAD)


def _id(word: str) -> int:
    return words().index(word)


def _encode(text: Text) -> tuple[list[int], dict[str, list[bool]]]:
    """Return the ids of a text behind `<s>`, and which of them are of each role."""
    got = raw_tokenizer().encode(text.text)
    marked: dict[str, list[bool]] = {}
    for role, first, last in text.spans:
        places = marked.setdefault(role, [False] * len(got.ids))
        for place, (a, b) in enumerate(got.offsets):
            if a < last and b > first and b > a:
                places[place] = True
    return got.ids, marked
