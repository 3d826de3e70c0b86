"""TextPixs: Glyph-Conditioned Diffusion with Character-Aware Attention and OCR-Guided Supervision."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="glyph-conditioned-diffusion",
    title="TextPixs: Glyph-Conditioned Diffusion with Character-Aware Attention and OCR-Guided Supervision",
    family="diffusion",
    authors=6,
    date=date(2025, 7, 8),
    arxiv="2507.06033",
    sentence=(
        "It trains a text-to-image model to spell: the wanted string also enters as a rendered picture, attention "
        "maps of different characters are pushed apart, and a frozen text reader grades the result."
    ),
)
