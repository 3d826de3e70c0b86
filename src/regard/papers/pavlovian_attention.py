"""Understanding Transformers through the Lens of Pavlovian Conditioning."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="pavlovian-attention",
    title="Understanding Transformers through the Lens of Pavlovian Conditioning",
    family="sinks",
    authors=1,
    date=date(2025, 8, 5),
    arxiv="2508.08289",
    sentence=(
        "It reads linear attention as conditioning: every key and value is a trial, a query is the test; and it "
        "derives from this how many pairs a head can hold and how errors build up."
    ),
)
