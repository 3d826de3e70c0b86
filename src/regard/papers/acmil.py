"""Attention-Challenging Multiple Instance Learning for Whole Slide Image Classification."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="acmil",
    title="Attention-Challenging Multiple Instance Learning for Whole Slide Image Classification",
    family="design",
    authors=6,
    date=date(2023, 11, 13),
    arxiv="2311.07125",
    sentence=(
        "It classifies whole slides from bags of patches with several attention branches that must differ, and "
        "hides some of the most attended patches during training, so that attention does not cling to a few."
    ),
)
