"""Cracking the Code of Hallucination in LVLMs with Vision-aware Head Divergence."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="vision-head-reinforcement",
    title="Cracking the Code of Hallucination in LVLMs with Vision-aware Head Divergence",
    family="vlm",
    authors=9,
    date=date(2024, 12, 18),
    arxiv="2412.13949",
    sentence=(
        "It measures how far each head's output moves when the image is taken away, and doubles the output of the "
        "heads that move most while an answer is generated."
    ),
    methods=("regard.lens.vision_heads.vision_heads", "regard.edit.reinforce.ReinforceHeads"),
)
