"""EEG motor imagery decoding: A framework for comparative analysis with channel attention mechanisms."""

from datetime import date

from .cards import Card

CARD = Card(
    slug="eeg-channel-attention",
    title="EEG motor imagery decoding: A framework for comparative analysis with channel attention mechanisms",
    family="design",
    authors=4,
    date=date(2024, 2, 20),
    arxiv="2310.11198",
    sentence=(
        "It puts fourteen published blocks of channel attention, one after another, into the same small EEG "
        "classifier, so that they can be compared fairly on imagined movements."
    ),
)
