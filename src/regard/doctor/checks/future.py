"""No query of a causal model sees later tokens, or padding."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...core.call import Call
from ...lens import Lens
from ..causality import behaves, is_causal
from ..finding import Finding
from ..inputs import PADDING, alone, padded, tokens_of
from ..passes import run, tolerance, watch, weights

NAME = "no weight on the future"


def check(model: nn.Module, lens: Lens, x: Mapping[str, Any]) -> Finding:
    """Look for weight on later tokens, and change the last token to see whether earlier outputs move."""
    if behaves(model, x) is None:
        return Finding(NAME, "not applicable", None, "these inputs and outputs are not a row for each token")
    if not is_causal(model, x):
        return Finding(NAME, "not applicable", None, "this model is not causal: its tokens are meant to see later ones")
    ways = {"without padding": x, "with padding": padded(model, x)}
    for way, given in ways.items():
        if given is None:
            continue
        moved = behaves(model, given) or 0.0
        if moved > tolerance(model):
            said = (
                f"{way}, earlier outputs move when the last token changes: the model itself is not causal, lens or not"
            )
            return Finding(NAME, "failed", moved, said, "the model's")
        with lens.edit():
            moved = behaves(model, given) or 0.0
        if moved > tolerance(model):
            said = f"{way}, earlier outputs move when the last token changes, and only while the lens listens"
            return Finding(NAME, "failed", moved, said)
        mass, where = _later(model, given)
        if mass > 0:
            return Finding(NAME, "failed", mass, f"{way}, queries at {where} give weight to later tokens or padding")
    cached = _later_with_cache(model, x)
    if cached is not None and cached[0] > 0:
        return Finding(NAME, "failed", cached[0], f"behind a cache, queries at {cached[1]} give weight to later tokens")
    how = "with and without padding" + (" and a cache" if cached is not None else "")
    return Finding(NAME, "ok", 0.0, f"none at all, {how}; earlier outputs stay when the last token changes")


def _later(model: nn.Module, x: Mapping[str, Any], **options: Any) -> tuple[float, str]:
    """Return the most weight that a query of the main part gives to keys that it must not see, and where."""
    worst, where = 0.0, ""

    def see(call: Call) -> Tensor | None:
        nonlocal worst, where
        if call.site.main and call.site.role == "self":
            hidden = (call.kpos[:, None] > call.qpos[..., None]) | (call.kpos < 0)[:, None]
            real = (call.qpos >= 0)[..., None]
            mass = float((weights(call) * (hidden & real)[:, None]).sum(-1).max())
            if mass > worst:
                worst, where = mass, str(call.site)
        return None

    watch(model, x, see, **options)
    return worst, where


def _later_with_cache(model: nn.Module, x: Mapping[str, Any]) -> tuple[float, str] | None:
    """Look at the last tokens, given at once behind a cache of the others; None for a model without one."""
    found = tokens_of(x)
    if found is None or not alone(x) or "past_key_values" not in inspect.signature(model.forward).parameters:
        return None
    ids = found[1]
    try:
        first = run(model, {"input_ids": ids[:, :-PADDING]}, use_cache=True)
    except Exception:  # no lens is involved, and the check of the cache tells it
        return None
    cache = getattr(first, "past_key_values", None)
    if cache is None:
        return None
    return _later(model, {"input_ids": ids[:, -PADDING:]}, past_key_values=cache, use_cache=True)
