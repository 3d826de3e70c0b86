"""The maps that a model's own library computes, whatever way it has to hand them out."""

import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from .zoo import DIFFUSION, FALCON, INTERFACE, MODULES, Case

Maps = list[tuple[str | None, Tensor]]
"""The path of each attention call (None where only their order is known), with its map [batch, head, query, key]."""


def own_maps(case: Case, model: nn.Module, x: dict[str, Any]) -> Maps:
    """Run a twin of the model that shows its maps."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        if case in INTERFACE:
            return _eager(twin, x)
        if case in DIFFUSION:
            return _textbook(twin, x)
        if case in MODULES:
            return _modules(twin, x)
        if case is FALCON:
            twin.config._attn_implementation = "eager"
        return [(None, a) for a in twin(**x, output_attentions=True).attentions]


def _eager(twin: Any, x: dict[str, Any]) -> Maps:
    """What the eager functions of the model's own files return."""
    twin.set_attn_implementation("eager")
    paths = {module: path for path, module in twin.named_modules()}
    found: Maps = []
    files = {sys.modules[type(module).__module__] for module in twin.modules()}
    with pytest.MonkeyPatch.context() as patch:
        for file in files:
            eager = getattr(file, "eager_attention_forward", None)
            if eager is not None:

                def shown(module: nn.Module, *args: Any, eager: Any = eager, **kwargs: Any) -> Any:
                    out, weights = eager(module, *args, **kwargs)
                    found.append((paths[module], weights))
                    return out, weights

                patch.setattr(file, "eager_attention_forward", shown)
        twin(**x)
    return found


def _textbook(twin: nn.Module, x: dict[str, Any]) -> Maps:
    """softmax(q k^T / sqrt(dim)) of what comes to torch's function."""
    fused = nn.functional.scaled_dot_product_attention
    found: Maps = []

    def shown(query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, **kwargs: Any) -> Tensor:
        assert attn_mask is None and not kwargs.get("is_causal")
        found.append((paths[-1], torch.softmax(query @ key.mT * query.shape[-1] ** -0.5, -1)))
        return fused(query, key, value, **kwargs)

    with pytest.MonkeyPatch.context() as patch, _path(twin) as paths:
        patch.setattr(nn.functional, "scaled_dot_product_attention", shown)
        twin(**x)
    return found


@contextmanager
def _path(model: nn.Module) -> Iterator[list[str]]:
    """The paths of the modules that are running, innermost last."""
    stack: list[str] = []
    for path, module in model.named_modules():
        module.register_forward_pre_hook(lambda module, args, path=path: stack.append(path))
        module.register_forward_hook(lambda module, args, out: stack.pop() and None)
    yield stack


def _modules(twin: nn.Module, x: dict[str, Any]) -> Maps:
    """What torch's modules return when they are asked for weights."""
    found: Maps = []
    for path, module in twin.named_modules():
        if isinstance(module, nn.MultiheadAttention):

            def shown(module: nn.Module, args: Any, kwargs: Any, path: str = path) -> Any:
                return args, {**kwargs, "need_weights": True, "average_attn_weights": False}

            module.register_forward_pre_hook(shown, with_kwargs=True)
            module.register_forward_hook(lambda module, args, out, path=path: found.append((path, out[1])))
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        twin(**x)
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
    return found
