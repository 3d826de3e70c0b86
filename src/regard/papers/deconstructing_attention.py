"""Deconstructing Attention: Investigating Design Principles for Effective Language Modeling."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="deconstructing-attention",
    title="Deconstructing Attention: Investigating Design Principles for Effective Language Modeling",
    family="sinks",
    authors=3,
    date=date(2025, 10, 13),
    arxiv="2510.11602",
    sentence=(
        "It trains language models in which attention has lost one property (mixing of tokens, the softmax form, "
        "dependence on the input, queries and keys of its own layer), in every layer or in every other one."
    ),
)
