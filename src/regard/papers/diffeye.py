"""DiffEye: Diffusion-Based Continuous Eye-Tracking Data Generation Conditioned on Natural Images."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="diffeye",
    title="DiffEye: Diffusion-Based Continuous Eye-Tracking Data Generation Conditioned on Natural Images",
    family="human",
    authors=3,
    date=date(2025, 9, 20),
    arxiv="2509.16767",
    sentence=(
        "It generates many different raw gaze traces for a picture with a diffusion model, from which fixations "
        "and saliency maps can be made afterwards."
    ),
)
