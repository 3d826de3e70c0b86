"""How edits will be computed, at which sites and on how many rows."""

from dataclasses import dataclass, field
from html import escape

from ..core.call import Site


@dataclass
class Line:
    """One edit at one site: what it does there, and to how many heads and rows."""

    edit: str
    site: Site
    effect: str
    route: str
    heads: int
    rows: int


@dataclass
class Explanation:
    """What edits would do on the inputs that they were tried on."""

    lines: list[Line] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.lines:
            return "these edits would change nothing here"
        told = []
        for edit in dict.fromkeys(line.edit for line in self.lines):
            mine = [line for line in self.lines if line.edit == edit]
            effects = ", ".join(sorted({f"{line.effect} {line.route}" for line in mine}))
            layers = sorted({line.site.layer for line in mine})
            heads = sum(line.heads for line in mine)
            rows = f"{min(line.rows for line in mine)} to {max(line.rows for line in mine)}"
            told.append(
                f"{edit}\n  computed as {effects}\n  layers {layers}: {heads} heads in all, {rows} rows in each"
            )
        return "\n".join(told)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"
