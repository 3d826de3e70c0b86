"""Finding the cards: every module of `regard.papers` has one."""

from difflib import get_close_matches
from importlib import import_module
from pkgutil import iter_modules

from .card import Card

ROOM = "regard.papers"


def cards() -> list[Card]:
    """Return every card, sorted by slug; raises ValueError for a module that declares none."""
    names = [module.name for module in iter_modules(import_module(ROOM).__path__) if not module.ispkg]
    return [_load(name) for name in sorted(names)]


def card(slug: str) -> Card:
    """Return the card of a slug; raises ValueError, with the nearest slugs, where there is none."""
    slugs = [one.slug for one in cards()]
    if slug not in slugs:
        near = get_close_matches(slug, slugs, cutoff=0.4)
        raise ValueError(f"there is no paper {slug!r}" + (f"; do you mean {', '.join(near)}?" if near else ""))
    return _load(slug.replace("-", "_"))


def _load(name: str) -> Card:
    found = getattr(import_module(f"{ROOM}.{name}"), "CARD", None)
    if not isinstance(found, Card):
        raise ValueError(f"{ROOM}.{name} declares no CARD")
    if found.slug.replace("-", "_") != name:
        raise ValueError(f"{ROOM}.{name} has the card of {found.slug!r}; slug and file have the same name")
    return found
