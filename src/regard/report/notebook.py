"""A scan in a notebook."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

from .data import Scan
from .scan import scan as measure
from .scan_page import page

HEIGHT = 900
"""Pixels of the frame that the page scrolls in."""


@dataclass(frozen=True)
class Scanned:
    """What `regard.scan` found: shown as a page in a notebook, saved as one, or taken as data from `scan`."""

    scan: Scan

    def save(self, path: str | PathLike[str]) -> None:
        """Write the page, whole or not at all."""
        page(self.scan).save(Path(path))

    def to_json(self) -> dict[str, Any]:
        """All that was found, as JSON values with their schema."""
        return self.scan.to_json()

    def __repr__(self) -> str:
        failed = [f"FAILED: {check.name}: {check.sentence}" for check in self.scan.failed]
        return "\n".join([*failed, *(finding.sentence.replace("`", "") for finding in self.scan.findings)])

    def _repr_html_(self) -> str:
        # A frame of its own keeps the page's styles and scripts from the notebook's, and the notebook's from the page's.
        source = escape(page(self.scan).html(), quote=True)
        return f'<iframe srcdoc="{source}" style="width:100%;height:{HEIGHT}px;border:0"></iframe>'


def scan(
    model: Any,
    processor: Any,
    x: Any = None,
    *,
    images: Any = None,
    max_tokens: int | None = None,
    batch_size: int = 8,
    redact: bool = False,
    doctor: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Scanned:
    """Measure what a model's attention does on `x`, and show it as `regard scan` does.

    `x` is a text, a conversation or several, or what `lens.encode` made; `images` are as there, and for a model of images
    alone a list of them. With `doctor`, the model is first examined in brief, and a check that failed stands at the top.
    `progress` is told how many steps are done, and of how many. Raises ValueError for an empty text and for a model without
    attention that can be measured.
    """
    return Scanned(
        measure(
            model,
            processor,
            x,
            images=images,
            max_tokens=max_tokens,
            batch_size=batch_size,
            redact=redact,
            doctor=doctor,
            progress=progress,
            command="regard.scan(model, processor, x)",
        )
    )
