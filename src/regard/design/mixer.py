"""Mixers that stand in for attention in some layers of a model: which layers, and how they get in and out (arXiv 2510.11602)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .stored import Design, designs, drop, keep

PLACES: dict[str, Callable[[int], set[int]]] = {
    "uniform": lambda n: set(),
    "hybrid": lambda n: set(range(2, n + 1, 2)),
    "odd": lambda n: set(range(1, n + 1, 2)),
    "quarter": lambda n: set(range(4, n + 1, 4)),
    "top": lambda n: set(range(1, n // 2 + 1)),
    "middle": lambda n: {*range(1, n // 4 + 1), *range(n - n // 4 + 1, n + 1)},
    "bottom": lambda n: set(range(n // 2 + 1, n + 1)),
    "first": lambda n: {1},
    "last": lambda n: {n},
    "bilateral": lambda n: {1, n},
}
"""Which layers keep standard attention, counted from 1 as the paper does, by name and for so many layers.

"hybrid" is the paper's "even". "bottom" follows its table; its text replaces layers 1 to 6 only.
"""


class Mixer(ABC):
    """A mixer that takes the place of attention; subclasses are frozen dataclasses of plain data.

    `place` is a name in `PLACES` of the layers that keep their attention, or the numbers, counted from 0, of those that lose it.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    place: str | Sequence[int]

    def put(self, model: nn.Module) -> None:
        """Put the mixer into a decoder of transformers, which trains and generates with it; make the optimiser after it.

        Raises ValueError for another model, one that has a mixer already, a place that is not there, and while a lens listens.
        """
        layers = decoder_layers(model)
        if any(isinstance(one, Mixer) for one in designs(model)):
            raise ValueError("this model has a mixer already: remove it first")
        if getattr(getattr(model, "config", None), "_attn_implementation", None) == "regard":
            raise ValueError("a lens listens to this model: put a mixer into it between the lens's contexts")
        self.put_at(model, replaced(self.place, len(layers)))
        if all(one is not self for one in designs(model)):
            keep(model, self)

    @abstractmethod
    def put_at(self, model: nn.Module, chosen: tuple[int, ...]) -> None:
        """Put it into layers, counted from 0."""

    @abstractmethod
    def take(self, model: nn.Module) -> None:
        """Take it out of all layers that have it."""


def decoder_layers(model: Any) -> list[Any]:
    """Return the layers of a decoder; raises ValueError unless each has `self_attn` with its projections apart."""
    layers = getattr(getattr(model, "base_model", model), "layers", None)
    parts = ("q_proj", "k_proj", "v_proj", "o_proj")
    if not isinstance(layers, nn.ModuleList) or not all(
        hasattr(layer, "self_attn")
        and (hasattr(layer.self_attn, "mixes") or all(hasattr(layer.self_attn, p) for p in parts))
        for layer in layers
    ):
        raise ValueError(
            f"{type(model).__name__} is no decoder whose layers have self_attn with q_proj, k_proj, v_proj and o_proj, as Llama "
            "and Qwen have, and mixers go into those"
        )
    return list(layers)


def replaced(place: str | Sequence[int], count: int) -> tuple[int, ...]:
    """Return which of `count` layers lose their attention, counted from 0; raises ValueError for a place that is not there."""
    if isinstance(place, str):
        if place not in PLACES:
            raise ValueError(f"no place is named {place!r}; there are {', '.join(PLACES)}, and numbers of layers")
        standard = {layer - 1 for layer in PLACES[place](count)}
        return tuple(layer for layer in range(count) if layer not in standard)
    wrong = [layer for layer in place if not 0 <= layer < count]
    if wrong or not len(place):
        raise ValueError(f"a mixer goes into some of layers 0 to {count - 1}, not {list(place)}")
    return tuple(sorted({int(layer) for layer in place}))


def mixer_of(model: nn.Module) -> Mixer | None:
    """Return the mixer of a model, None where it has none."""
    return next((one for one in designs(model) if isinstance(one, Mixer)), None)


def remove_mixer(model: nn.Module) -> None:
    """Take a model's mixer out, so that it attends as before; raises ValueError if it has none."""
    found = mixer_of(model)
    if found is None:
        raise ValueError("this model has no mixer")
    found.take(model)
    drop(model, Mixer)


@contextmanager
def skipping(model: nn.Module, chosen: Sequence[int] | None = None) -> Iterator[None]:
    """Leave whole layers out while the context lasts, by default those with a mixer (the paper's Skip).

    Raises ValueError where no layers are given and the model has no mixer. Not for generation with a cache.
    """
    layers, found = decoder_layers(model), mixer_of(model)
    if chosen is None:
        if found is None:
            raise ValueError("this model has no mixer: say which layers to skip")
        chosen = replaced(found.place, len(layers))
    handles = [layers[layer].register_forward_hook(_unchanged, with_kwargs=True) for layer in chosen]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def one_layer_each(model: Any, mixer: Design, batch: Mapping[str, Tensor]) -> Tensor:
    """Return by how many nats a model's loss on a batch with `labels` rises when a mixer replaces one layer's attention, [layer].

    The mixer is as it is put in, untrained. Not in the paper. Raises ValueError as `Mixer.put` does.
    """
    plain, rises = float(model(**batch).loss), []
    for layer in range(len(decoder_layers(model))):
        replace(mixer, place=(layer,)).put(model)
        try:
            rises.append(float(model(**batch).loss) - plain)
        finally:
            remove_mixer(model)
    return torch.tensor(rises)


def _unchanged(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
    given = args[0] if args else kwargs["hidden_states"]
    return (given, *out[1:]) if isinstance(out, tuple) else given
