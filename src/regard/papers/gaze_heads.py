"""Gaze Heads: How VLMs Look at What They Describe."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="gaze-heads",
    title="Gaze Heads: How VLMs Look at What They Describe",
    family="heads",
    authors=2,
    date=date(2026, 6, 11),
    arxiv="2606.14703",
    sentence=(
        "It finds heads that attend to the part of an image that is being described, and steers the description "
        "to another part by a bias on what these heads see."
    ),
    methods=("regard.edit.BiasKeys",),
)
