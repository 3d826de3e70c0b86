"""FocuSFT: Bilevel Optimization for Dilution-Aware Long-Context Fine-Tuning."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="focusft",
    title="FocuSFT: Bilevel Optimization for Dilution-Aware Long-Context Fine-Tuning",
    family="design",
    authors=6,
    date=date(2026, 5, 10),
    arxiv="2605.09932",
    sentence=(
        "It fine-tunes for long contexts with two aids that are gone afterwards: context tokens see one another "
        "in both directions, and small fast weights are fitted to each batch before the main weights take their "
        "step."
    ),
)
