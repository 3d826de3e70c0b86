"""Improving Chain-of-Thought for Logical Reasoning via Attention-Aware Intervention."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="attention-aware-intervention",
    title="Improving Chain-of-Thought for Logical Reasoning via Attention-Aware Intervention",
    family="heads",
    authors=3,
    date=date(2026, 1, 23),
    arxiv="2601.09805",
    sentence=(
        "In worked examples of logical reasoning it forces selected heads to look from each mention of a rule's "
        "number to that rule's text, and leaves the question itself alone."
    ),
)
