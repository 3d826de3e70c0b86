"""The library's own eager attention, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def eager(model: nn.Module) -> Iterator[None]:
    """Let a transformers model attend by its eager functions, which are those that hand out maps."""
    before = [(config, config._attn_implementation) for config in _configs(model)]
    try:
        for config, _ in before:
            config._attn_implementation = "eager"
        yield
    finally:
        for config, name in before:  # outer ones first: setting one may set those inside it
            config._attn_implementation = name


def implementation(model: nn.Module) -> str:
    """Return the name of the attention implementation that the model runs."""
    return str(getattr(getattr(model, "config", None), "_attn_implementation", None))


def _configs(model: nn.Module) -> list[Any]:
    found: dict[int, Any] = {}
    for module in model.modules():
        pending = [getattr(module, "config", None)]
        while pending:
            config: Any = pending.pop(0)
            if hasattr(config, "_attn_implementation") and hasattr(config, "sub_configs") and id(config) not in found:
                found[id(config)] = config
                pending += [getattr(config, key, None) for key in config.sub_configs]
    return [config for config in found.values() if config._attn_implementation is not None]
