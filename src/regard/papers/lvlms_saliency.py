"""Hallucination Begins Where Saliency Drops."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="lvlms-saliency",
    title="Hallucination Begins Where Saliency Drops",
    family="vlm",
    authors=11,
    date=date(2026, 1, 28),
    arxiv="2601.20279",
    sentence=(
        "It weighs attention by its gradient and finds that wrong words come when earlier output has little "
        "influence; at decoding it rejects such candidates and strengthens attention to the latest output."
    ),
)
