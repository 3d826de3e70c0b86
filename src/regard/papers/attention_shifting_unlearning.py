"""Wisdom is Knowing What not to Say: Hallucination-Free LLMs Unlearning via Attention Shifting."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="attention-shifting-unlearning",
    title="Wisdom is Knowing What not to Say: Hallucination-Free LLMs Unlearning via Attention Shifting",
    family="vlm",
    authors=7,
    date=date(2026, 4, 16),
    arxiv="2510.17210",
    sentence=(
        "It makes a language model forget by training adapters until its attention hardly looks at words that "
        "carry the facts to be forgotten, and holds attention in place on everything else."
    ),
)
