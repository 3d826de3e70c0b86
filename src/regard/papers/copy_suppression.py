"""Copy Suppression: Comprehensively Understanding an Attention Head."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="copy-suppression",
    title="Copy Suppression: Comprehensively Understanding an Attention Head",
    family="heads",
    authors=5,
    date=date(2023, 10, 5),
    arxiv="2310.04625",
    sentence=(
        "It explains one head of GPT-2 small: the head finds an earlier token that the model is about to predict "
        "again and lowers that token's logit, which accounts for part of how the model repairs itself."
    ),
)
