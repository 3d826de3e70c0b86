"""Attention whose queries and keys come from elsewhere than its values: maps that do not depend on the text, or on its context.

Queries and keys are the layer's own projections of another input, so rotary embeddings, masks, caches and the model's kernels are
as they were, and a lens hears the attention as it is.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .mixer import Mixer, decoder_layers
from .side_stream import SideStream

_SOURCE = "other_source"


class OtherSource(Mixer):
    """A mixer whose queries and keys have another source."""

    @abstractmethod
    def source(self, model: Any) -> "_Source":
        """Return where they come from."""

    def put_at(self, model: Any, chosen: tuple[int, ...]) -> None:
        layers = decoder_layers(model)
        source = self.source(model)
        source.handles.append(layers[0].register_forward_pre_hook(source, with_kwargs=True))
        for layer in chosen:
            for name in ("q_proj", "k_proj"):
                linear = getattr(layers[layer].self_attn, name)
                source.handles.append(linear.register_forward_pre_hook(_Feed(source, layer)))
        setattr(model, _SOURCE, source)

    def take(self, model: Any) -> None:
        for handle in getattr(model, _SOURCE).handles:
            handle.remove()
        delattr(model, _SOURCE)


class _Source:
    """What queries and keys are projected from; called as a hook on the first layer, with what goes into the layers."""

    def __init__(self, model: Any) -> None:
        self.handles: list[Any] = []
        self.layers = decoder_layers(model)
        self.embedded: Tensor = torch.empty(0)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.embedded = args[0] if args else kwargs["hidden_states"]

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy starts with: no embeddings, which belong to a graph."""
        return self.__dict__ | {"embedded": torch.empty(0)}

    def of(self, layer: int) -> Tensor:
        """Return the source of a layer, [batch, token, width]."""
        states: Tensor = self.layers[layer].input_layernorm(self.embedded)
        return states


class _Fixed(_Source):
    """The states of a side stream, at the places of the tokens that go into the layers.

    The stream runs where a pass begins, in the hooks of the outermost module: inside, a lens would take it for the model's own.
    """

    def __init__(self, model: Any, text: Tensor) -> None:
        super().__init__(model)
        body = getattr(model, "base_model", model)
        self.body, self.text, self.stream = body, text, SideStream(body)
        self.places = torch.empty(0, dtype=torch.long)
        self.inside = False
        self.handles.append(model.register_forward_pre_hook(self.begin, with_kwargs=True))
        if body is not model:  # which may be run by itself
            self.handles.append(model.register_forward_hook(self.end, always_call=True))
            self.handles.append(body.register_forward_pre_hook(self.begin, with_kwargs=True))

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Have the states for a pass; raises ValueError for a token behind the end of the fixed text."""
        if self.inside:
            return
        self.inside = module is not self.body
        places, cache = kwargs.get("position_ids"), kwargs.get("past_key_values")
        if places is not None:
            needed = int(places.max()) + 1
        else:
            names = ("input_ids", "inputs_embeds")
            given = next((kwargs[name] for name in names if kwargs.get(name) is not None), args[0] if args else None)
            needed = 0 if given is None else given.shape[1] + (0 if cache is None else cache.get_seq_length())
        if needed > self.text.shape[1]:
            raise ValueError(
                f"the fixed text has {self.text.shape[1]} tokens, and one at place {needed - 1} was asked for"
            )
        like = next(self.body.parameters())
        self.text = self.text.to(like) if self.text.is_floating_point() else self.text.to(like.device)
        name = "inputs_embeds" if self.text.is_floating_point() else "input_ids"
        self.stream.run(self.body, {name: self.text}, max(needed, 1))

    def end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Note that a pass is over."""
        self.inside = False

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__call__(module, args, kwargs)
        if kwargs.get("position_ids") is None:
            raise ValueError(
                f"{type(module).__name__} is not told the positions of its tokens, which a fixed text needs"
            )
        self.places = kwargs["position_ids"]

    def of(self, layer: int) -> Tensor:
        return self.stream.states[layer][0, self.places].expand(len(self.embedded), -1, -1)


class _Feed:
    """A hook that hands a projection the source in place of its input; a class, so that a copy of the model has its own."""

    def __init__(self, source: _Source, layer: int) -> None:
        self.source, self.layer = source, layer

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor]:
        return (self.source.of(self.layer),)


@dataclass(frozen=True)
class EmbeddingQK(OtherSource):
    """Queries and keys from the tokens' embeddings, put through the layer's own norm: maps know tokens, and no context.

    So the first layer is as it was; whether the paper normalises embeddings is not established. Source: arXiv 2510.11602,
    section 3 (StaticEmbQK).
    """

    place: str | Sequence[int] = "uniform"

    def source(self, model: Any) -> _Source:
        return _Source(model)


@dataclass(frozen=True)
class TextQK(OtherSource):
    """Queries and keys from one fixed text, token ids that run through the same layers: maps do not depend on the input.

    They follow the model's parameters as it trains. Texts can be as long as the fixed one. Source: arXiv 2510.11602, section 3
    (FixedSeqQK), with 2048 tokens of FineWeb.
    """

    tokens: Sequence[int]
    place: str | Sequence[int] = "uniform"

    def source(self, model: Any) -> _Source:
        size = model.get_input_embeddings().num_embeddings
        if not len(self.tokens) or not all(0 <= token < size for token in self.tokens):
            raise ValueError(f"a fixed text is of tokens 0 to {size - 1}, and of one at least")
        return _Fixed(model, torch.tensor([list(self.tokens)]))


@dataclass(frozen=True)
class RandomQK(OtherSource):
    """Queries and keys from fixed random vectors, `length` of them, that run through the same layers.

    They are normal with standard deviation `std`, by default that of the model's embeddings at the start: the paper does not
    tell. Source: arXiv 2510.11602, section 3 (RndEmbQK).
    """

    length: int = 2048
    seed: int = 0
    std: float | None = None
    place: str | Sequence[int] = "uniform"

    def source(self, model: Any) -> _Source:
        if self.length < 1:
            raise ValueError(f"random vectors are for 1 token or more, not {self.length}")
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randn(1, self.length, model.config.hidden_size, generator=generator)
        return _Fixed(model, drawn * (model.config.initializer_range if self.std is None else self.std))
