"""A scan without what it was made of: positions and segments stay, texts, tokens and images go."""

from dataclasses import replace

from .data import Example, Scan

HIDDEN = "·"


def redacted(scan: Scan) -> Scan:
    """Return a scan whose examples show no token and no image; its findings name special tokens only, before and after."""
    return replace(scan, examples=[_redacted(example) for example in scan.examples], redacted=True)


def _redacted(example: Example) -> Example:
    return replace(example, tokens=[HIDDEN] * len(example.tokens), image=None)
