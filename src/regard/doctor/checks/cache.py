"""Tokens given step by step behind a cache get what they get in one pass, plain and edited."""

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ...edit import Interpolate
from ...lens import Lens
from ...lens.outputs import tensors
from ..causality import is_causal
from ..finding import Finding
from ..inputs import PADDING, alone, tokens_of
from ..passes import apart, run, tolerance

NAME = "a cache gives the same"


def check(model: nn.Module, lens: Lens, x: Mapping[str, Any]) -> Finding:
    """Give all but the last tokens, then one, then the others; an edit whose rows depend on themselves only is kept up."""
    found = tokens_of(x)
    takes = "past_key_values" in inspect.signature(model.forward).parameters
    if not takes:
        return Finding(NAME, "not applicable", None, "this model takes no cache")
    if found is None or not alone(x):
        return Finding(NAME, "not applicable", None, "these inputs are not tokens alone")
    if not is_causal(model, x):
        return Finding(NAME, "not applicable", None, "this model is not causal")
    ids, worst = found[1], 0.0
    cut = [0, ids.shape[1] - PADDING, ids.shape[1] - PADDING + 1, ids.shape[1]]
    edit = Interpolate("identity", 0.5)
    outputs = {}
    for what, context in (("plain", nullcontext), ("edited", lambda: lens.edit(edit))):
        with context():
            whole = _rows(run(model, {"input_ids": ids}))
            try:
                steps = _steps(model, ids, cut)
            except Exception as error:
                if what == "edited":
                    raise
                said = f"the model itself, no lens involved, does not go on behind a cache: {type(error).__name__}: {error}"
                return Finding(NAME, "failed", None, " ".join(said.split())[:300], "the model's")
        if steps is None:
            return Finding(NAME, "not applicable", None, "this model returns no cache")
        outputs[what] = whole
        off = apart([steps], [whole])
        worst = max(worst, off)
        if off > tolerance(model):
            if what == "plain":
                said = "the model's own outputs, no lens involved, behind a cache are not those of one pass"
                return Finding(NAME, "failed", off, said, "the model's")
            return Finding(NAME, "failed", off, "edited outputs behind a cache are not those of one pass")
    if torch.equal(outputs["plain"], outputs["edited"]):
        return Finding(NAME, "failed", 0.0, f"{edit} does not move the output")
    return Finding(NAME, "ok", worst, "a prompt, one token, and two at once give what one pass gives, plain and edited")


def _steps(model: nn.Module, ids: Tensor, cut: list[int]) -> Tensor | None:
    """Return the outputs of tokens given in pieces, [example, token, width]; None for a model that returns no cache."""
    found, cache = [], None
    for start, stop in pairwise(cut):
        output = run(model, {"input_ids": ids[:, start:stop]}, past_key_values=cache, use_cache=True)
        cache = getattr(output, "past_key_values", None)
        if cache is None:
            return None
        found.append(_rows(output))
    return torch.cat(found, 1)


def _rows(output: Any) -> Tensor:
    """Return the output of each token, [example, token, width]."""
    return next(one for one in tensors(output) if one.ndim == 3)
