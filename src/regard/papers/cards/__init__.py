"""What papers are held to: cards and claims, measured rows, and the marks that are judged from them."""

from .card import Card, Check, Claim, Cost, Entry, Own, Setting
from .evidence import Deviation, Evidence, Figure, Measured
from .find import card, cards
from .marks import Equation, Judged, Mechanism, Reproduction, Seen, judge

__all__ = [
    "Card",
    "Check",
    "Claim",
    "Cost",
    "Deviation",
    "Entry",
    "Equation",
    "Evidence",
    "Figure",
    "Judged",
    "Measured",
    "Mechanism",
    "Own",
    "Reproduction",
    "Seen",
    "Setting",
    "card",
    "cards",
    "judge",
]
