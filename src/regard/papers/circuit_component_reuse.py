"""Circuit Component Reuse Across Tasks in Transformer Language Models."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="circuit-component-reuse",
    title="Circuit Component Reuse Across Tasks in Transformer Language Models",
    family="heads",
    authors=3,
    date=date(2023, 10, 12),
    arxiv="2310.08744",
    sentence=(
        "It traces the heads behind two different tasks in GPT-2 Medium, finds that most of them serve both, and "
        "mends the second task by making four heads act as they do in the first."
    ),
    methods=("regard.edit.PatchHeads",),
)
