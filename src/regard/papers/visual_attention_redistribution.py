"""See What You Are Told: Visual Attention Sink in Large Multimodal Models."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="visual-attention-redistribution",
    title="See What You Are Told: Visual Attention Sink in Large Multimodal Models",
    family="vlm",
    authors=4,
    date=date(2025, 3, 5),
    arxiv="2503.03321",
    sentence=(
        "It tells image tokens that draw much attention but show only background by a few huge hidden values, and "
        "moves part of the attention on sinks to the other image tokens in heads that look at the image."
    ),
    methods=("regard.edit.Redistribute",),
)
