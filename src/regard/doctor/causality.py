"""Whether a model is causal, by what it does and by what it says."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..core.call import Call
from ..lens.outputs import tensors
from .inputs import mask_name, tokens_of
from .passes import apart, run, tolerance, watch


def behaves(model: nn.Module, x: Mapping[str, Any]) -> float | None:
    """Return how far earlier outputs move when each example's last token changes; None where that cannot be asked."""
    found = tokens_of(x)
    if found is None:
        return None
    name, ids = found
    changed = ids.clone()
    changed[:, -1] = torch.where(ids[:, -1] == ids[:, 0], ids[:, 1], ids[:, 0])
    if torch.equal(changed, ids):
        return None
    pair = [tensors(run(model, {**x, name: given})) for given in (ids, changed)]
    # The first output with a row for each token: logits, or hidden states.
    rows = [[one for one in some if one.ndim == 3 and one.shape[:2] == ids.shape][:1] for some in pair]
    if not rows[0]:
        return None
    earlier = [[one[:, :-1] for one in some] for some in rows]
    mask = x.get(mask_name(name))
    if isinstance(mask, Tensor) and mask.shape == ids.shape:
        earlier = [[one[mask[:, :-1].bool()] for one in some] for some in earlier]
    return apart(earlier[1], earlier[0])


def is_causal(model: nn.Module, x: Mapping[str, Any]) -> bool:
    """Say whether no token is meant to see a later one: the model's attention says so, or it is seen not to."""
    moved = behaves(model, x)
    return moved is not None and (moved <= tolerance(model) or _says(model, x))


def _says(model: nn.Module, x: Mapping[str, Any]) -> bool:
    said: list[object] = []

    def see(call: Call) -> Tensor | None:
        if call.site.main and call.site.role == "self":
            said.append(getattr(model.get_submodule(call.site.path), "is_causal", None))
        return None

    watch(model, x, see)
    generates = getattr(model, "can_generate", None)
    silent = all(one is None for one in said)
    return any(one is True for one in said) or (silent and callable(generates) and bool(generates()))
