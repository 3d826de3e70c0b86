"""A second text that runs through a model's own layers beside each pass, so that attention can take queries and keys from it."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class SideStream:
    """The inputs of each attention module of a decoder on one fixed text, computed by the layers as they are now.

    The layers of the side stream have their own attention. They share their parameters with the model's, so a backward pass goes
    through both, and run without dropout. Without gradients what was computed is kept until a parameter changes.
    """

    def __init__(self, body: Any) -> None:
        memo: dict[int, Any] = {id(parameter): parameter for parameter in body.parameters()}
        self.twin: Any = copy.deepcopy(
            body, memo
        ).eval()  # a model of its own, so that no hook or lens of the first one hears it
        for layer, block in enumerate(self.twin.layers):
            block.self_attn.register_forward_pre_hook(_Kept(self, layer), with_kwargs=True)
        self.states: dict[int, Tensor] = {}
        self._known: Any = None

    def run(self, body: Any, given: Mapping[str, Any], tokens: int) -> None:
        """Have the states [1, token, width] of at least so many tokens, of the text `given` as ids or as embeddings."""
        whole = next(iter(given.values())).shape[1]
        kept = not torch.is_grad_enabled()
        if kept:
            tokens = min(
                whole, 1 << (tokens - 1).bit_length()
            )  # so that a generation does not run it anew for every token
        versions = [(id(p), p._version, p.data_ptr()) for p in body.parameters()]
        known = (versions, tokens, {name: (text.data_ptr(), text._version) for name, text in given.items()})
        if kept and known == self._known:
            return
        self._share(body)
        self.twin(**{name: text[:, :tokens] for name, text in given.items()}, use_cache=False)
        self._known = known if kept else None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy starts with: no states, which belong to a graph."""
        return self.__dict__ | {"states": {}, "_known": None}

    def _share(self, body: Any) -> None:
        """Have the twin use the parameters and buffers that the body has now, which may have been moved or replaced."""
        modules = dict(self.twin.named_modules())
        for path, module in body.named_modules():
            if path in modules:
                for name in modules[path]._parameters:
                    modules[path]._parameters[name] = module._parameters[name]
                for name in modules[path]._buffers:
                    modules[path]._buffers[name] = module._buffers[name]


class _Kept:
    """A hook that keeps what an attention module is given; a class, so that a copy of the model has hooks of its own."""

    def __init__(self, stream: SideStream, layer: int) -> None:
        self.stream, self.layer = stream, layer

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.stream.states[self.layer] = args[0] if args else kwargs["hidden_states"]
