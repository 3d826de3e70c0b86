"""What a lens could leave behind."""

from typing import Any

import torch
from torch import nn


def outputs(model: nn.Module, x: dict[str, Any]) -> torch.Tensor:
    """The first tensor that the model returns."""
    with torch.no_grad():
        return model(**x)[0]


def state(model: nn.Module) -> dict[str, Any]:
    """All that a lens could leave behind: hooks, implementations, registries, methods, switches, modes."""
    from transformers import cache_utils
    from transformers.masking_utils import AttentionMaskInterface
    from transformers.modeling_utils import AttentionInterface

    return {
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "implementations": [getattr(getattr(m, "config", None), "_attn_implementation", None) for m in model.modules()],
        "own": [sorted(k for k in vars(m) if not k.startswith("_")) for m in model.modules()],
        "registries": [sorted(AttentionInterface._global_mapping), sorted(AttentionMaskInterface._global_mapping)],
        "caches": [cache_utils.Cache.crop, cache_utils.Cache.reorder_cache, cache_utils.EncoderDecoderCache.crop],
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "modes": torch._C._len_torch_function_stack(),
        "weights": [p.clone() for p in model.parameters()],
    }


def same(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Say whether nothing was left behind."""
    return all(before[key] == after[key] for key in before if key != "weights") and all(
        torch.equal(a, b) for a, b in zip(before["weights"], after["weights"], strict=True)
    )
