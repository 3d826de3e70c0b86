"""Visual Search Asymmetry: Deep Nets and Humans Share Similar Inherent Biases."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="visual-search-asymmetry",
    title="Visual Search Asymmetry: Deep Nets and Humans Share Similar Inherent Biases",
    family="human",
    authors=5,
    date=date(2021, 6, 5),
    arxiv="2106.02953",
    sentence=(
        "It lets a network with a retina that grows coarser away from the point of gaze search pictures, and "
        "finds that some targets are harder to find than their opposites, as for people, because of what the "
        "network was trained on."
    ),
)
