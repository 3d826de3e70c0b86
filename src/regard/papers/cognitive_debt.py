"""Your Brain on ChatGPT: Accumulation of Cognitive Debt when Using an AI Assistant for Essay Writing Task."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="cognitive-debt",
    title=("Your Brain on ChatGPT: Accumulation of Cognitive Debt when Using an AI Assistant for Essay Writing Task"),
    family="human",
    authors=8,
    date=date(2025, 6, 10),
    arxiv="2506.08872",
    sentence=(
        "It compares people who write essays with a chatbot, with a search engine or with nothing, by directed "
        "coupling between EEG channels, by how alike the essays are, and by how well the writers can quote them."
    ),
)
