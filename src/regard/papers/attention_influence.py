"""AttentionInfluence: Adopting Attention Head Influence for Weak-to-Strong Pretraining Data Selection."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="attention-influence",
    title="AttentionInfluence: Adopting Attention Head Influence for Weak-to-Strong Pretraining Data Selection",
    family="heads",
    authors=4,
    date=date(2025, 5, 12),
    arxiv="2505.07293",
    sentence=(
        "It switches off the retrieval heads of a small model and keeps, for training a larger one, the documents "
        "whose loss rises most."
    ),
)
