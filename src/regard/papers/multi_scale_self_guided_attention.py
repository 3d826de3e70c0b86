"""Multi-scale self-guided attention for medical image segmentation."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="multi-scale-self-guided-attention",
    title="Multi-scale self-guided attention for medical image segmentation",
    family="design",
    authors=2,
    date=date(2019, 6, 6),
    arxiv="1906.02849",
    sentence=(
        "It segments medical images with attention over positions and over channels at four scales, refined twice "
        "under the guidance of a small encoder-decoder."
    ),
)
