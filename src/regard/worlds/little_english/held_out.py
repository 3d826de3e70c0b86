"""Which combinations of the little world are kept from training."""

from typing import Literal

from .lexicon import COLOURS, NAMES, OBJECTS

Split = Literal["train", "eval"]

# One combination in five: each object then lacks two of ten colours in training, each name eight of forty others.
ONE_IN = 5


def colours_of(thing: str, split: Split) -> tuple[str, ...]:
    """Return the colours that an object has in a split; in no other split does it have them."""
    number = OBJECTS.index(thing)
    return tuple(c for i, c in enumerate(COLOURS) if ((i + number) % ONE_IN == 0) == (split == "eval"))


def companions_of(name: str, split: Split) -> tuple[str, ...]:
    """Return the people that are with somebody in a split; in no other split do the two meet."""
    number = NAMES.index(name)
    return tuple(n for i, n in enumerate(NAMES) if n != name and ((i + number) % ONE_IN == 0) == (split == "eval"))
