"""Unveiling and Harnessing Hidden Attention Sinks."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="attention-calibration",
    title=(
        "Unveiling and Harnessing Hidden Attention Sinks: Enhancing Large Language Models without Training "
        "through Attention Calibration"
    ),
    family="vlm",
    authors=6,
    date=date(2024, 6, 22),
    arxiv="2406.15765",
    sentence=(
        "It finds, for every input, later tokens that hold too much attention in selected heads, takes most of it "
        "from them and spreads it over the other tokens, without training."
    ),
    methods=("regard.measure.Received",),
)
