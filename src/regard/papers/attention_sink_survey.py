"""Attention Sink in Transformers: A Survey on Utilization, Interpretation, and Mitigation."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="attention-sink-survey",
    title="Attention Sink in Transformers: A Survey on Utilization, Interpretation, and Mitigation",
    family="sinks",
    authors=None,
    date=date(2026, 4, 10),
    arxiv="2604.10098",
    sentence=(
        "It orders what is known of attention sinks by three questions: what they are good for, why they arise, "
        "and how they are removed."
    ),
)
