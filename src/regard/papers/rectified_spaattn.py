"""Rectified SpaAttn: Revisiting Attention Sparsity for Efficient Video Generation."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="rectified-spaattn",
    title="Rectified SpaAttn: Revisiting Attention Sparsity for Efficient Video Generation",
    family="sparse",
    authors=5,
    date=date(2025, 11, 24),
    arxiv="2511.19835",
    sentence=(
        "It corrects block-sparse attention in video generation with block means: the kept blocks are scaled down "
        "to the mass they truly hold, and dropped blocks are added back in pooled form where that pays."
    ),
)
