"""The share of heads for which the first token is a sink, as arXiv 2410.10781 counts it."""

from torch import Tensor

from ...lens import Lens
from ...measure import SinkRate
from ..known import Fact, Measured

TEXTS, TOKENS, THRESHOLD = 100, 64, 0.3
BATCH = 10


def rate(lens: Lens, ids: Tensor, fact: Fact) -> Measured:
    """Compare the rate on ids [text, token], in percent, with what is expected."""
    batches = [{"input_ids": ids[at : at + BATCH]} for at in range(0, len(ids), BATCH)]
    found = 100 * float(lens.measure(batches, [SinkRate(THRESHOLD)])["sink_rate"].mean.nanmean())
    within = fact.within or 0.0
    wanted = f"{fact.expected:.2f} ± {within:.0f} % of heads"
    return Measured(abs(found - fact.expected) <= within, wanted, f"{found:.2f} %")
