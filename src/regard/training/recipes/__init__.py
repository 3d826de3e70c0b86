"""Recipes, one module each with its `RECIPE`; a module is found by being here."""

from importlib import import_module
from pkgutil import iter_modules

from ..recipe import Recipe


def names() -> list[str]:
    """Return the names of all recipes; a dash in a name is an underscore in its module's."""
    return sorted(module.name.replace("_", "-") for module in iter_modules(__path__))


def named(name: str) -> Recipe:
    """Return a recipe by its name.

    Raises ValueError for a name that no recipe has.
    """
    if name not in names():
        raise ValueError(f"no recipe is named {name!r}; there are {', '.join(names())}")
    recipe: Recipe = import_module(f"{__name__}.{name.replace('-', '_')}").RECIPE
    return recipe
