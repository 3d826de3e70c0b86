"""On the Existence and Behaviour of Secondary Attention Sinks."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="secondary-sinks",
    title="On the Existence and Behaviour of Secondary Attention Sinks",
    family="sinks",
    authors=6,
    date=date(2025, 12, 22),
    arxiv="2512.22213",
    sentence=(
        "It finds tokens that become attention sinks only in the middle of a network and only for some layers, "
        "and traces them to one MLP that writes along the direction of the first token's sink."
    ),
)
