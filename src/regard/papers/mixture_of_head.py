"""MoH: Multi-Head Attention as Mixture-of-Head Attention."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="mixture-of-head",
    title="MoH: Multi-Head Attention as Mixture-of-Head Attention",
    family="design",
    authors=4,
    date=date(2024, 10, 15),
    arxiv="2410.11842",
    sentence=(
        "It treats heads as experts: some always work, each token chooses some of the others, and the chosen ones "
        "are added with weights that depend on the token."
    ),
)
