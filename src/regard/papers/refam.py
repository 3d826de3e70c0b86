"""RefAM: Attention Magnets for Zero-Shot Referral Segmentation."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="refam",
    title="RefAM: Attention Magnets for Zero-Shot Referral Segmentation",
    family="diffusion",
    authors=7,
    date=date(2025, 9, 26),
    arxiv="2509.22650",
    sentence=(
        "It finds the object that a phrase names in the text-to-image attention of a diffusion transformer, and "
        "appends stop words that soak up stray attention and are then thrown away."
    ),
)
