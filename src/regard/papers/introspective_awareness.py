"""Mechanisms of Introspective Awareness."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="introspective-awareness",
    title="Mechanisms of Introspective Awareness",
    family="heads",
    authors=6,
    date=date(2026, 4, 12),
    arxiv="2603.21396",
    sentence=(
        "It adds a concept's direction to a language model's hidden states, asks whether it notices, and looks "
        "for the parts that make it say so."
    ),
)
