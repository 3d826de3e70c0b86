"""Sparsifiner: Learning Sparse Instance-Dependent Attention for Efficient Vision Transformers."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="sparsifiner",
    title="Sparsifiner: Learning Sparse Instance-Dependent Attention for Efficient Vision Transformers",
    family="design",
    authors=6,
    date=date(2023, 3, 23),
    arxiv="2303.13755",
    sentence=(
        "It lets a cheap low-rank predictor choose, for each image, head and patch, the quarter of the keys that "
        "matter, and computes attention on those alone."
    ),
)
