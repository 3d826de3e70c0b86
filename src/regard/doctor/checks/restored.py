"""Nothing is left behind by listening, also where it was broken off."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import nn

from ...lens import Lens
from ...lens.outputs import tensors
from ..finding import Finding
from ..passes import apart, run

NAME = "nothing is left behind"


class _BrokenOff(Exception):
    """What ends an edit early."""


def check(model: nn.Module, lens: Lens, x: Mapping[str, Any]) -> Finding:
    """Compare the model's state and outputs before and after a listening context, one that fails, and one that stays open."""
    plain, before = tensors(run(model, x)), _state(model)
    with lens.edit():
        run(model, x)
    with suppress(_BrokenOff), lens.edit():
        run(model, x)
        raise _BrokenOff
    lens.install().remove()
    after = _state(model)
    changed = [name for name in before if before[name] != after[name]]
    off = apart(tensors(run(model, x)), plain)
    if changed or off:
        what = ", ".join(changed) or "nothing that was looked at"
        return Finding(NAME, "failed", off, f"behind the lens, {what} differ, and outputs by {off:.1e}")
    return Finding(NAME, "ok", off, "hooks, implementations, weights and outputs are as before, after a failure too")


def _state(model: nn.Module) -> dict[str, Any]:
    """Return all that a lens could leave behind."""
    kept: dict[str, Any] = {
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "implementations": [getattr(getattr(m, "config", None), "_attn_implementation", None) for m in model.modules()],
        "attributes": [sorted(name for name in vars(m) if not name.startswith("_")) for m in model.modules()],
        "weights": [(p.data_ptr(), 0 if p.is_inference() else p._version) for p in model.parameters()],
        "torch's fast path": torch.backends.mha.get_fastpath_enabled(),
        "function modes": torch._C._len_torch_function_stack(),
    }
    if "transformers" in sys.modules:
        from transformers.masking_utils import AttentionMaskInterface
        from transformers.modeling_utils import AttentionInterface

        kept["interfaces"] = [
            sorted(AttentionInterface._global_mapping),
            sorted(AttentionMaskInterface._global_mapping),
        ]
    return kept
