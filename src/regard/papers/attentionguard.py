"""Orchestrating Attention: Bringing Harmony to the 'Chaos' of Neurodivergent Learning States."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="attentionguard",
    title="Orchestrating Attention: Bringing Harmony to the 'Chaos' of Neurodivergent Learning States",
    family="human",
    authors=3,
    date=date(2026, 2, 8),
    arxiv="2602.07865",
    sentence=(
        "It guesses from clicks, scrolling and pauses in which of four states of engagement a learner is, and "
        "makes the page calmer or livelier to suit."
    ),
)
