"""Capability Ceilings in Autoregressive Language Models: Empirical Evidence from Knowledge-Intensive Tasks."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="capability-ceilings",
    title=("Capability Ceilings in Autoregressive Language Models: Empirical Evidence from Knowledge-Intensive Tasks"),
    family="sinks",
    authors=1,
    date=date(2025, 10, 22),
    arxiv="2510.21866",
    sentence=(
        "It reports that larger models of two families get a smoother loss but no better at knowledge questions, "
        "and swaps attention patterns between models as a probe."
    ),
    methods=("regard.edit.PatchWeights",),
)
