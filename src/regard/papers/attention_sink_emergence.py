"""When Attention Sink Emerges in Language Models: An Empirical View."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="attention-sink-emergence",
    title="When Attention Sink Emerges in Language Models: An Empirical View",
    family="sinks",
    authors=8,
    date=date(2024, 10, 14),
    arxiv="2410.10781",
    sentence=(
        "It defines a rate of attention sinks and trains many small language models that differ in one thing "
        "each, to see when the sink at the first token appears, where, and what makes it go."
    ),
    methods=("regard.measure.SinkRate", "regard.measure.SinkMass"),
    real=(
        "`regard scan MODEL` shows sink mass and sink rate of every head; `regard doctor MODEL --known` puts the rate beside "
        "what the paper reports of that model."
    ),
)
