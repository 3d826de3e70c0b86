"""Fine-Grained Activation Steering: Steering Less, Achieving More."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="austeer",
    title="Fine-Grained Activation Steering: Steering Less, Achieving More",
    family="heads",
    authors=10,
    date=date(2026, 2, 4),
    arxiv="2602.04428",
    sentence=(
        "It steers a model by about a hundred single activations, chosen by how consistently they differ between "
        "right and wrong answers, each scaled by an amount that depends on the input."
    ),
)
