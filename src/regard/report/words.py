"""How layers, heads and numbers are named: layers from 1, with the code's name from 0 in brackets."""

import math
from collections import Counter

from .data import Check
from .intervals import FEWEST
from .tokens import name


def layers(members: list[int], total: int) -> str:
    """A contiguous run of layers (counted from 0) among `total`, in words."""
    low, high = members[0], members[-1]
    if low == high:
        return f"layer {low + 1} of {total} (L{low})"
    if len(members) == total:
        return f"all {total} layers (L{low} to L{high})"
    return f"layers {low + 1} to {high + 1} of {total} (L{low} to L{high})"


def head(layer: int, index: int) -> str:
    """One head, in words."""
    return f"L{layer}H{index} (layer {layer + 1})"


def between(low: float, high: float, digits: int = 2) -> str:
    """A range of numbers, or one number where both ends print the same."""
    first, last = f"{low:.{digits}f}", f"{high:.{digits}f}"
    return first if first == last else f"{first} to {last}"


def tokens(count: float) -> str:
    """A number of tokens, to one decimal where it is small."""
    told = f"{count:.0f}" if count >= 10 else f"{count:.1f}".removesuffix(".0")
    return f"{told} token{'' if told == '1' else 's'}"


def short(value: float) -> str:
    """A number to three significant digits, without powers of ten."""
    digits = 2 - math.floor(math.log10(abs(value))) if value else 2
    return f"{value:.{max(0, digits)}f}"


def heads_count(count: int, total: int) -> str:
    """So many heads of so many."""
    return f"{count} of {total} head{'' if total == 1 else 's'}"


def scope(texts: int, unit: str = "text") -> str:
    """How far a finding reaches."""
    if texts >= FEWEST:
        return f"{texts} {unit}s"
    return f"{texts} {unit}{'' if texts == 1 else 's'} only"


def opening(texts: int, unit: str = "text") -> str:
    """How a sentence starts: with few texts it is about these texts alone."""
    if texts >= FEWEST:
        return ""
    return f"In this one {unit}, " if texts == 1 else f"In these {texts} {unit}s, "


def first_tokens(firsts: list[str], unit: str = "text", hidden: bool = False) -> str:
    """Which token stands first, in words; with `hidden`, how many different ones do."""
    counted = Counter(firsts).most_common()
    if len(counted) == 1 and hidden:
        return f"the first token of {f'the {unit}' if len(firsts) == 1 else f'every {unit}'}"
    if len(counted) == 1:
        return f"{name(firsts[0])}, the first token of {f'the {unit}' if len(firsts) == 1 else f'every {unit}'},"
    if hidden:
        return f"the first token ({len(counted)} different ones in {len(firsts)} {unit}s)"
    shown = ", ".join(name(token) for token, _ in counted[:3])
    more = ", ..." if len(counted) > 3 else ""
    return f"the first token ({len(counted)} different ones in {len(firsts)} {unit}s: {shown}{more})"


def doctor(checks: list[Check]) -> str:
    """What the doctor's checks came to, in a line."""
    failed = [check.name for check in checks if check.verdict == "failed"]
    if failed:
        return f"doctor: {len(failed)} of {len(checks)} checks FAILED ({', '.join(failed)})"
    fine = sum(check.verdict == "ok" for check in checks)
    silent = f", {len(checks) - fine} not applicable" if fine < len(checks) else ""
    worst = max((check.deviation for check in checks if check.deviation is not None), default=None)
    off = "" if worst is None else f", worst deviation {worst:.1e}"
    return f"doctor: {fine} check{'' if fine == 1 else 's'} ok{silent}{off}"


def listed(members: list[str]) -> str:
    """Members with commas, and an "and" before the last."""
    return members[0] if len(members) == 1 else f"{', '.join(members[:-1])} and {members[-1]}"


def sentence(text: str) -> str:
    """The text with its first letter raised (a name in backticks stays as it is)."""
    return text[:1].upper() + text[1:]
