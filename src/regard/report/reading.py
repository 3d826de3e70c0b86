"""Which way a model reads, and what even attention would look like then."""

import numpy as np

from .data import Array, Reading


def reading(received: list[Array]) -> Reading:
    """Which way the queries look, told from the attention received per token, one [layer, token] per text.

    Every query gives away 1. If all see every token, the received means add up to 1; if each sees itself and
    what came before, the means times the number of queries that see the token add up to the number of tokens.
    """
    texts = [text for text in received if text.shape[1] > 1]
    both = all(np.allclose(text.sum(1), 1.0, atol=2e-2) for text in texts)
    back = all(np.allclose(text @ seen_by("back", text.shape[1]), text.shape[1], rtol=2e-2) for text in texts)
    return "both" if both else "back" if back else "other"


def seen_by(way: Reading, tokens: int) -> Array:
    """How many queries see each token, [token]; without windows."""
    return np.arange(tokens, 0, -1.0) if way == "back" else np.full(tokens, float(tokens))


def even_distance(way: Reading, tokens: int) -> float:
    """The mean distance, in tokens, of attention spread evenly."""
    return (tokens**2 - 1) / (3 * tokens) if way == "both" else (tokens - 1) / 4
