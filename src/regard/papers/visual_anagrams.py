"""Diffusion-based Visual Anagram as Multi-task Learning."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="visual-anagrams",
    title="Diffusion-based Visual Anagram as Multi-task Learning",
    family="diffusion",
    authors=6,
    date=date(2024, 12, 3),
    arxiv="2412.02693",
    sentence=(
        "It samples one picture that shows a different subject under each of several views; it treats the views "
        "as tasks, makes their attention share the same pixels, and weighs up the view that lags behind."
    ),
)
