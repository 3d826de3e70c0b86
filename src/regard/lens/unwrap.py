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
    "FullyShardedDataParallel": "only the wrapper itself gathers its weights: shard the model by fully_shard instead",
}
_GRAPHS = {"RecursiveScriptModule", "TopLevelTracedModule", "GraphModule"}
_PIPELINES = "give the model inside, for instance .model, .unet or .transformer"


def unwrap(model: Any) -> nn.Module:
    """Return the module to attach to: PEFT, accelerate, compile and data-parallel wrappers are taken off, what they wrap stays.

    Raises TypeError, with what to give instead, for a wrapper that replaces the model's attention or hides it, and for what is
    no torch module.
    """
    kind = type(model).__name__
    if kind in _REFUSED:
        raise TypeError(f"a lens cannot attach to a {kind}: {_REFUSED[kind]}")
    if not isinstance(model, nn.Module):
        hint = f": {_PIPELINES}" if hasattr(model, "components") or "Pipeline" in kind else ""
        raise TypeError(f"a lens attaches to a torch.nn.Module, not to a {kind}{hint}")
    if kind == "OptimizedModule":
        return unwrap(model._orig_mod)  # which is run while a lens listens; the compiled graph is run again afterwards
    if kind in {"DataParallel", "DistributedDataParallel"}:
        return unwrap(model.module)
    if hasattr(model, "peft_config") and hasattr(model, "get_base_model"):
        base: Any = model.get_base_model
        if any(getattr(one, "is_prompt_learning", False) for one in model.peft_config.values()):  # type: ignore[operator]
            raise TypeError(
                f"a lens cannot attach to this {kind}: its prompt is put in front by the wrapper, outside the model that a lens "
                "runs; give .get_base_model() to measure the model without it"
            )
        return unwrap(base())  # the adapters stay inside it, at work
    for name, module in model.named_modules():
        if type(module).__name__ in _GRAPHS:
            raise TypeError(
                f"{name or 'the model'} is a {type(module).__name__}, a scripted, traced or exported graph, which hides "
                "attention: give the module that it was made from"
            )
    meta = next((name for name, parameter in model.named_parameters() if parameter.is_meta), None)
    # Hooks of accelerate bring weights that are offloaded when they are needed.
    if meta is not None and not any(hasattr(module, "_hf_hook") for module in model.modules()):
        raise TypeError(f"{meta} has no data (it is on the meta device): load the weights first")
    return model
