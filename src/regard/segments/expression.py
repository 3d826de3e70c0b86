"""Names of segments joined: `a|b` is a union, `!a` a complement, and `re:` takes the rest as a regular expression."""

import re
from collections.abc import Callable

from torch import Tensor

_REGEX = re.compile(r"(?:^|\|)\s*!?\s*re:")


def resolve(name: str, known: Callable[[str], Tensor], all_of: Tensor) -> Tensor:
    """Return the tokens that a name or a union of names means, bool like `all_of`, which complements are taken in."""
    chosen = all_of & False
    for part in _parts(name):
        negated, bare = part.startswith("!"), part.removeprefix("!").strip()
        tokens = known(bare) & all_of
        chosen = chosen | (all_of & ~tokens if negated else tokens)
    return chosen


def _parts(name: str) -> list[str]:
    """Return the members of a union; a regular expression, in which bars are its own, comes last."""
    regex = _REGEX.search(name)
    if regex is None:
        return [part.strip() for part in name.split("|")]
    start = regex.start() + name[regex.start() :].startswith("|")
    before = name[: regex.start()]
    return [part.strip() for part in before.split("|") if part.strip()] + [name[start:].lstrip()]
