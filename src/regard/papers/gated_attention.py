"""Gated Attention for Large Language Models: Non-linearity, Sparsity, and Attention-Sink-Free."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="gated-attention",
    title="Gated Attention for Large Language Models: Non-linearity, Sparsity, and Attention-Sink-Free",
    family="design",
    authors=13,
    date=date(2025, 5, 10),
    arxiv="2505.06708",
    sentence=(
        "It multiplies the output of each head by a sigmoid gate that reads the current token, which makes "
        "training steadier and removes the sink at the first token."
    ),
)
