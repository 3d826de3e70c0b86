"""What a check found, and what all of them found together."""

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Literal

SCHEMA = "regard.doctor/1"
Verdict = Literal["ok", "failed", "not applicable"]


@dataclass(frozen=True)
class Finding:
    """What one check found, in one sentence.

    `deviation` is the worst that was seen, against what the check compares: 0 is equal bit by bit, None where nothing was
    compared. `whose` says who is at fault where it failed: `ours`, or `the model's`, with which regard has nothing to do.
    """

    name: str
    verdict: Verdict
    deviation: float | None
    sentence: str
    whose: Literal["ours", "the model's"] = "ours"

    def with_other(self, other: "Finding") -> "Finding":
        """Return what a check found on two inputs together: the worse of the two."""
        order = ("not applicable", "ok", "failed")
        return max(self, other, key=lambda one: (order.index(one.verdict), one.whose == "ours", one.deviation or 0.0))


@dataclass(frozen=True)
class Sites:
    """How many uses of attention a part of the model has in one role, and the tier that reaches them."""

    part: str
    role: str
    tier: str
    count: int


@dataclass(frozen=True)
class Examination:
    """The findings of all checks on one model; `ok` where none failed. It prints as a table."""

    model: str
    dtype: str
    device: str
    sites: list[Sites]
    findings: list[Finding]
    notes: list[str]
    versions: dict[str, str]
    seconds: float

    @property
    def ok(self) -> bool:
        """True if no check failed."""
        return all(finding.verdict != "failed" for finding in self.findings)

    def __getitem__(self, name: str) -> Finding:
        found = {finding.name: finding for finding in self.findings}
        if name not in found:
            raise KeyError(f"no check is called {name!r}; there are {', '.join(found)}")
        return found[name]

    def to_json(self) -> dict[str, Any]:
        """Return the examination as JSON values, with its schema."""
        values: dict[str, Any] = {"schema": SCHEMA, "ok": self.ok} | asdict(self)
        for finding in values["findings"]:
            off = finding["deviation"]
            finding["deviation"] = off if off is None or isfinite(off) else str(off)  # JSON has no infinity
        return values

    def __repr__(self) -> str:
        from .table import text

        return text(self)
