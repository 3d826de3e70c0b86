"""What an effect needs of a site, against what the site gives."""

from .call import Site
from .effects import Effect, Out, Output
from .effects.inputs import InputEffect


def refuse(effect: Effect, site: Site) -> None:
    """Raise ValueError for an effect that needs queries, keys or values of a site that gives none.

    A site that says nothing of what it gives is taken to give everything.
    """
    if not site.gives or {"q", "k", "v"} <= site.gives:
        return
    given = isinstance(effect, Output) or (isinstance(effect, Out) and (effect.value, effect.add) != (None, None))
    if given or isinstance(effect, InputEffect):
        what = "head outputs" if given else "queries, keys or values"
        raise ValueError(
            f"{type(effect).__name__} changes {what}, and {site} gives only {', '.join(sorted(site.gives))}: its model writes "
            "attention out, so nothing but scores and weights can be changed (head outputs can be scaled)"
        )
