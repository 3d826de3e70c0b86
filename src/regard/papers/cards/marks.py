"""The three marks of a claim, judged from rows and never mixed.

No mark says that a paper is refuted: a small model can fail to show a mechanism, and its mark says that of this model.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .card import Claim
from .evidence import Deviation, Measured
from .paired import Spread, sign_test, spread

ALPHA = 0.05


class Equation(StrEnum):
    """Whether the method computes what its formula says."""

    exact = "exact"
    not_exact = "not exact"
    not_run = "not run"
    none = "none"


class Mechanism(StrEnum):
    """Whether a named model shows what the paper describes."""

    seen = "seen"
    not_seen = "not seen"
    too_few = "too few seeds"
    not_run = "not run"
    none = "none"


class Reproduction(StrEnum):
    """Whether the paper's own number came out on its own model and data."""

    reproduced = "reproduced"
    not_reproduced = "not reproduced"
    not_run = "not run"


@dataclass(frozen=True)
class Seen:
    """The mechanism mark of one model, and what it was judged from.

    `effects` has one number per seed, `spread` is over them, and `sign` is the sign test's p for so many of them on the claim's
    side of the threshold. `controls` are how far the value lies on the claim's side of each control, `failed` why it is not seen.
    """

    model: str
    mark: Mechanism
    seeds: tuple[int, ...] = ()
    effects: tuple[float, ...] = ()
    spread: Spread | None = None
    sign: float | None = None
    controls: dict[str, Spread] | None = None
    failed: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.mark} in {self.model}" if self.model else str(self.mark)


@dataclass(frozen=True)
class Judged:
    """A claim with its three marks; `seen` has the bench model first and then every other model that was measured."""

    claim: Claim
    equation: Equation
    deviation: float | None
    seen: tuple[Seen, ...]
    reproduction: Reproduction
    own: float | None

    def __str__(self) -> str:
        seen = "; ".join(f"mechanism {one}" for one in self.seen)
        return f"equation {self.equation}; {seen}; {self.reproduction} on the paper's own model and data"


def judge(claim: Claim, rows: Iterable[Measured], deviations: Iterable[Deviation] = ()) -> Judged:
    """Return the marks of a claim; rows of other claims are left out.

    Raises ValueError for rows that lack a control, repeat a seed, or have no ratio.
    """
    mine = [row for row in rows if row.claim == claim.name]
    off = [one.value for one in deviations if one.claim == claim.name]
    own = [row for row in mine if _is_own(claim, row)]
    groups: dict[str, list[Measured]] = {claim.bench: []}
    for row in mine:
        if not _is_own(claim, row):
            groups.setdefault(row.model, []).append(row)
    seen = tuple(_seen(claim, model, group) for model, group in groups.items())
    mean = sum(row.value for row in own) / len(own) if own else None
    worst = max(off, key=lambda value: math.inf if math.isnan(value) else abs(value)) if off else None
    return Judged(claim, _equation(claim, worst), worst, seen, _reproduction(claim, mean), mean)


def _equation(claim: Claim, worst: float | None) -> Equation:
    if not claim.equation:
        return Equation.none
    if worst is None:
        return Equation.not_run
    return Equation.exact if abs(worst) <= claim.tolerance else Equation.not_exact


def _reproduction(claim: Claim, mean: float | None) -> Reproduction:
    if claim.own is None or claim.own.expected is None or mean is None:
        return Reproduction.not_run
    close = abs(mean - claim.own.expected) <= claim.own.within
    return Reproduction.reproduced if close else Reproduction.not_reproduced


def _is_own(claim: Claim, row: Measured) -> bool:
    """Whether a row is of the paper's own model, under any owner or in any folder, on the paper's own data."""
    if claim.own is None or row.data != claim.own.data:
        return False
    return row.model.rstrip("/").rpartition("/")[2].lower() == claim.own.model.rpartition("/")[2].lower()


def _seen(claim: Claim, model: str, rows: Sequence[Measured]) -> Seen:
    if not rows:
        return Seen(model, Mechanism.not_run if claim.bench else Mechanism.none)
    rows = sorted(rows, key=lambda row: row.seed)
    seeds = tuple(row.seed for row in rows)
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"claim {claim.name} in {model}: a seed was measured twice, of {list(seeds)}")
    for row in rows:
        if missing := sorted(set(claim.controls) - set(row.controls)):
            raise ValueError(f"claim {claim.name} in {model}, seed {row.seed}: no control {', '.join(missing)}")
    effects = tuple(_effect(claim, row) for row in rows)
    if len(rows) < claim.seeds:
        return Seen(model, Mechanism.too_few, seeds, effects)
    numbers = [*effects, *(row.controls[name] for row in rows for name in claim.controls)]
    if not all(math.isfinite(number) for number in numbers):
        return Seen(model, Mechanism.not_seen, seeds, effects, failed=("a run has no finite value",))
    effect = _spread(claim, effects)
    sign = sign_test(sum(_beyond(claim, value, claim.threshold) for value in effects), len(effects))
    others = [name for name in claim.controls if name != claim.against]
    controls = {name: spread([_lead(claim, row, name) for row in rows]) for name in others}
    failed = []
    if not _beyond(claim, effect.low if claim.direction == "above" else effect.high, claim.threshold):
        failed.append(f"the interval is not {claim.direction} {claim.threshold:g}")
    if sign >= ALPHA:
        failed.append(f"the sign test has p = {sign:.3g}")
    failed += [f"{name} does as well" for name, lead in controls.items() if not lead.low > 0]
    mark = Mechanism.not_seen if failed else Mechanism.seen
    return Seen(model, mark, seeds, effects, effect, sign, controls, tuple(failed))


def _spread(claim: Claim, effects: Sequence[float]) -> Spread:
    """The spread of effects; of ratios it is taken over their logarithms, and the detectable one is a factor."""
    if claim.measure != "ratio":
        return spread(effects)
    log = spread([math.log(value) for value in effects])
    return Spread(math.exp(log.mean), math.exp(log.low), math.exp(log.high), math.exp(log.detectable))


def _effect(claim: Claim, row: Measured) -> float:
    if claim.measure == "value":
        return row.value
    base = row.controls[claim.against]
    if claim.measure == "difference":
        return row.value - base
    if row.value <= 0 or base <= 0:
        raise ValueError(
            f"claim {claim.name}, seed {row.seed}: {row.value} over {base} is no ratio of two positive numbers"
        )
    return row.value / base


def _lead(claim: Claim, row: Measured, control: str) -> float:
    lead = row.value - row.controls[control]
    return lead if claim.direction == "above" else -lead


def _beyond(claim: Claim, value: float, threshold: float) -> bool:
    return value > threshold if claim.direction == "above" else value < threshold
