"""On the Emergence of Position Bias in Transformers."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="position-bias",
    title="On the Emergence of Position Bias in Transformers",
    family="sinks",
    authors=4,
    date=date(2025, 8, 8),
    arxiv="2502.01951",
    sentence=(
        "It reads stacked attention as a random walk on the graph of the mask, and shows that a causal mask alone "
        "drives the walk to the first token as depth grows, while decay with distance pulls the other way."
    ),
)
