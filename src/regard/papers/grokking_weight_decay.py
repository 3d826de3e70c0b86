"""Weight Decay Regimes in Grokking Transformers: Cheap Online Diagnostics."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="grokking-weight-decay",
    title="Weight Decay Regimes in Grokking Transformers: Cheap Online Diagnostics",
    family="sinks",
    authors=1,
    date=date(2026, 5, 18),
    arxiv="2605.20441",
    sentence=(
        "It trains small transformers on modular arithmetic at many strengths of weight decay and follows them "
        "with two cheap numbers: how alike heads are, and how much their entropies differ."
    ),
    methods=("regard.measure.HeadSimilarity", "regard.measure.EntropySpread"),
)
