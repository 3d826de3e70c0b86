"""SparseD: Sparse Attention for Diffusion Language Models."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="sparsed",
    title="SparseD: Sparse Attention for Diffusion Language Models",
    family="sparse",
    authors=5,
    date=date(2025, 9, 28),
    arxiv="2509.24014",
    sentence=(
        "It runs the first steps of a diffusion language model with full attention, picks the strongest key "
        "blocks for each head once, prompt and answer apart, and uses only those for the remaining steps."
    ),
)
