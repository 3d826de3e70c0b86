"""A lens that listens does not change what the model computes."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...hosts import mha
from ...lens import Lens
from ...lens.outputs import tensors
from ..finding import Finding
from ..inputs import padded
from ..passes import apart, run, tolerance

NAME = "listening changes nothing"


def check(model: nn.Module, lens: Lens, x: Mapping[str, Any]) -> Finding:
    """Compare outputs with and without a lens that listens, with and without padding."""
    worst = 0.0
    for given in (x, padded(model, x)):
        if given is None:
            continue
        plain = tensors(run(model, given))
        if apart(tensors(run(model, given)), plain) > 0:
            return Finding(NAME, "not applicable", None, "two passes of the model itself differ, so there is no output")
        with lens.edit():
            heard = tensors(run(model, given))
        if mha.NOTE in lens.notes:  # torch's fast path puts zeros in the places of padding
            heard = [_like(a, b) for a, b in zip(heard, plain, strict=True)]
        worst = max(worst, apart(heard, plain))
    if worst == 0:
        return Finding(NAME, "ok", worst, "outputs are equal bit by bit")
    if worst <= tolerance(model):
        why = lens.notes[0] if lens.notes else "another kernel"
        return Finding(NAME, "ok", worst, f"outputs differ by rounding: {why}")
    return Finding(NAME, "failed", worst, "outputs move as soon as a lens listens: nothing it measures can be trusted")


def _like(heard: Tensor, plain: Tensor) -> Tensor:
    return heard.masked_fill(plain == 0, 0.0) if heard.shape == plain.shape else heard
