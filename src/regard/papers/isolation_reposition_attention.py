"""Improving Multi-Subject Consistency in Open-Domain Image Generation with Isolation and Reposition Attention."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="isolation-reposition-attention",
    title=(
        "Improving Multi-Subject Consistency in Open-Domain Image Generation with Isolation and Reposition Attention"
    ),
    family="diffusion",
    authors=7,
    date=date(2024, 11, 28),
    arxiv="2411.19261",
    sentence=(
        "It draws several given subjects in one scene: subjects may read reference pictures but not each other, "
        "and each reference is first moved to the place and size that the subject has in the scene."
    ),
    methods=("regard.edit.BlockKeys",),
)
