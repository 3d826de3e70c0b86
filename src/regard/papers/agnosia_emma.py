"""Evaluation and Mitigation of Agnosia in Multimodal Large Language Models."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="agnosia-emma",
    title="Evaluation and Mitigation of Agnosia in Multimodal Large Language Models",
    family="vlm",
    authors=8,
    date=date(2023, 9, 7),
    arxiv="2309.04041",
    sentence=(
        "It tests with generated multiple-choice questions which aspects of a picture (object, colour, number, "
        "relation) a vision-language model fails to perceive, and tunes the model on generated conversations "
        "about them."
    ),
)
