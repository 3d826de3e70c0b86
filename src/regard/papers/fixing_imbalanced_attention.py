"""Fixing Imbalanced Attention to Mitigate In-Context Hallucination of Large Vision-Language Model."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="fixing-imbalanced-attention",
    title="Fixing Imbalanced Attention to Mitigate In-Context Hallucination of Large Vision-Language Model",
    family="vlm",
    authors=5,
    date=date(2025, 1, 21),
    arxiv="2501.12206",
    sentence=(
        "At every step of generation it raises the attention scores of two small sets of image tokens, which the "
        "vision encoder's own attention picks, since deep layers look at the image less and less."
    ),
    methods=("regard.edit.BiasKeys",),
)
