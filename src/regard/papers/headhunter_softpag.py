"""Fine-Grained Perturbation Guidance via Attention Head Selection."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="headhunter-softpag",
    title="Fine-Grained Perturbation Guidance via Attention Head Selection",
    family="diffusion",
    authors=10,
    date=date(2025, 6, 12),
    arxiv="2506.10978",
    sentence=(
        "It guides diffusion away from a copy of the model in which chosen single heads are blended towards "
        "looking at themselves, with a greedy search for the heads that serve a given goal."
    ),
    methods=("regard.edit.Interpolate",),
)
