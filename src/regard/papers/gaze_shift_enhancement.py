"""Capturing Gaze Shifts for Guidance: Cross-Modal Fusion Enhancement for VLM Hallucination Mitigation."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="gaze-shift-enhancement",
    title="Capturing Gaze Shifts for Guidance: Cross-Modal Fusion Enhancement for VLM Hallucination Mitigation",
    family="vlm",
    authors=4,
    date=date(2025, 10, 24),
    arxiv="2510.22067",
    sentence=(
        "It watches which image patches gain attention while a model reads the question, and strengthens them at "
        "every step of the answer together with the question itself."
    ),
    methods=("regard.edit.ScaleKeys",),
)
