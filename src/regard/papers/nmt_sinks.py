"""Attention Sinks in Massively Multilingual Neural Machine Translation: Discovery, Analysis, and Mitigation."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="nmt-sinks",
    title=("Attention Sinks in Massively Multilingual Neural Machine Translation: Discovery, Analysis, and Mitigation"),
    family="sinks",
    authors=2,
    date=date(2026, 5, 1),
    arxiv="2605.01229",
    sentence=(
        "It finds that most cross-attention of a many-language translation model falls on end marks, language "
        "tags and punctuation, and takes these columns out before attention is compared or used for alignment."
    ),
    methods=("regard.measure.SegmentMass",),
)
