"""Affine-Scaled Attention: Towards Flexible and Stable Transformer Attention."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="affine-scaled-attention",
    title="Affine-Scaled Attention: Towards Flexible and Stable Transformer Attention",
    family="design",
    authors=10,
    date=date(2026, 2, 26),
    arxiv="2602.23057",
    sentence=(
        "It multiplies each row of attention weights by a factor learnt from the query and adds a constant that "
        "keeps the average size in check, so that a row need not put its spare weight on the first token."
    ),
)
