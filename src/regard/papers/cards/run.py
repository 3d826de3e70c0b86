"""Running the check of a card."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from ...bench.result import machine, versions
from .card import Card, Setting
from .evidence import Deviation, Figure, Measured
from .find import card
from .marks import judge
from .results import Result, commit, described

PACKAGES = ("regard", "torch", "transformers", "diffusers", "numpy")


def run(card: Card, setting: Setting, progress: Callable[[int], None] | None = None) -> Result:
    """Run a card's check and return what it measured; `progress` is told how many rows there are.

    Raises ValueError for a card without a check, and for a check that measures what its claims do not ask for.
    """
    if card.check is None:
        raise ValueError(f"{card.slug} is planned: it has no check yet")
    started, clock = datetime.now(UTC), time.perf_counter()
    rows: list[Measured] = []
    deviations: list[Deviation] = []
    figures: list[Figure] = []
    claims = {claim.name: claim for claim in card.claims}
    for one in card.check(setting):
        if isinstance(one, Figure):
            figures.append(one)
            continue
        if one.claim not in claims:
            raise ValueError(f"{card.slug} measured {one.claim!r}, which is none of its claims {sorted(claims)}")
        if isinstance(one, Deviation):
            deviations.append(one)
            continue
        rows.append(one)
        judge(claims[one.claim], rows)  # a row that cannot be judged is told at once, not after hours
        if progress is not None:
            progress(len(rows))
    if not (rows or deviations):
        raise ValueError(f"the check of {card.slug} measured nothing")
    return Result(
        slug=card.slug,
        setting=setting,
        claims=described(card),
        rows=rows,
        deviations=deviations,
        figures=figures,
        versions=versions(*PACKAGES),
        machine=machine(setting.device),
        started=started.isoformat(timespec="seconds"),
        seconds=time.perf_counter() - clock,
        commit=commit(),
    )


def run_named(job: tuple[str, Setting]) -> Result:
    """Run the check of the card of a slug, in a process that has nothing but its name."""
    slug, setting = job
    return run(card(slug), setting)
