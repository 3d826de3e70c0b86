"""OAT: Object-Level Attention Transformer for Gaze Scanpath Prediction."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="oat",
    title="OAT: Object-Level Attention Transformer for Gaze Scanpath Prediction",
    family="human",
    authors=5,
    date=date(2024, 7, 18),
    arxiv="2407.13335",
    sentence=(
        "It predicts the order in which a person who searches a display looks at its objects, with a transformer "
        "that points at one object after another until it points at the target."
    ),
)
