"""A-STAR: Test-time Attention Segregation and Retention for Text-to-image Synthesis."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="a-star",
    title="A-STAR: Test-time Attention Segregation and Retention for Text-to-image Synthesis",
    family="diffusion",
    authors=6,
    date=date(2023, 6, 26),
    arxiv="2306.14544",
    sentence=(
        "While an image is being sampled, it moves the latent so that the cross-attention maps of the things "
        "named in the prompt stay apart and each keeps the place it had a step before; nothing is trained."
    ),
)
