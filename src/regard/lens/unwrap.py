"""From what users hold to the module that attends: wrappers are taken off, or refused by name."""

from typing import Any

from torch import nn

_REFUSED = {
    "HookedTransformer": "give the transformers model that it was made from",
    "HookedEncoder": "give the transformers model that it was made from",
    "TransformerBridge": "give its .original_model",
    "LanguageModel": "give the transformers model that it wraps, its ._model",
    "NNsight": "give the module that it wraps, its ._model",
    "StandardizedTransformer": "give the transformers model that it wraps, its ._model",
    "OptimizedModule": "a compiled graph hides attention: give the model as it was before torch.compile, its ._orig_mod",
}
_PIPELINES = "give the model inside, for instance .model, .unet or .transformer"


def unwrap(model: Any) -> nn.Module:
    """Return the module to attach to: PEFT, accelerate and data-parallel wrappers are taken off, what they wrap stays as it is.

    Raises TypeError, with what to give instead, for a wrapper that replaces the model's attention or hides it, and for what is
    no torch module.
    """
    kind = type(model).__name__
    if kind in _REFUSED:
        raise TypeError(f"a lens cannot attach to a {kind}: {_REFUSED[kind]}")
    if not isinstance(model, nn.Module):
        hint = f": {_PIPELINES}" if hasattr(model, "components") or "Pipeline" in kind else ""
        raise TypeError(f"a lens attaches to a torch.nn.Module, not to a {kind}{hint}")
    if kind in {"DataParallel", "DistributedDataParallel", "FullyShardedDataParallel"}:
        return unwrap(model.module)
    if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
        base: Any = model.get_base_model
        return unwrap(base())  # the adapters stay inside it, at work
    compiled = [name for name, module in model.named_modules() if type(module).__name__ == "OptimizedModule"]
    if compiled:
        raise TypeError(f"{compiled[0]} is compiled, and a compiled graph hides attention: attach before torch.compile")
    meta = next((name for name, parameter in model.named_parameters() if parameter.is_meta), None)
    if meta is not None and not hasattr(model, "hf_device_map"):
        raise TypeError(f"{meta} has no data (it is on the meta device): load the weights first")
    return model
