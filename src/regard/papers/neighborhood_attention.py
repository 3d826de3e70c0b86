"""Faster Neighborhood Attention: Reducing the O(n^2) Cost of Self Attention at the Threadblock Level."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="neighborhood-attention",
    title="Faster Neighborhood Attention: Reducing the O(n^2) Cost of Self Attention at the Threadblock Level",
    family="sparse",
    authors=3,
    date=date(2024, 3, 7),
    arxiv="2403.04690",
    sentence=(
        "It computes attention of each token of a grid to a window of fixed size around it in fused GPU kernels, "
        "which tile the grid itself instead of a sequence."
    ),
)
