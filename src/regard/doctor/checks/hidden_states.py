"""The residual streams that `lens.cache` reads are those of the library's recorder, layer by layer."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ...core.call import Call
from ...lens import Lens
from ..finding import Finding
from ..passes import apart, run, tolerance, watch

NAME = "hidden states line up"
FIELDS = {"hidden_states": None, "decoder_hidden_states": "decoder", "encoder_hidden_states": "encoder"}
"""Where transformers hands out hidden states, and of which part of the model: None is the one that writes the output."""


def check(model: nn.Module, lens: Lens, x: Mapping[str, Any]) -> Finding:
    """Compare what enters and leaves each block with the library's list, of which entry `n` is what enters block `n`."""
    try:
        output = run(model, x, output_hidden_states=True)
    except TypeError:
        return Finding(NAME, "not applicable", None, "this model has no output_hidden_states")
    except ValueError as error:
        return Finding(NAME, "not applicable", None, f"the library hands out no hidden states of this model: {error}")
    except Exception as error:  # nobody listens yet, so it is the library's own
        said = f"the library fails when it is asked for hidden states: {type(error).__name__}: {error}"
        return Finding(NAME, "failed", None, said, "the model's")
    fields = {part: getattr(output, field, None) for field, part in FIELDS.items()}
    given = {part: list(states) for part, states in fields.items() if isinstance(states, tuple | list) and states}
    if not all(isinstance(state, Tensor) for states in given.values() for state in states):
        return Finding(NAME, "not applicable", None, "the library's hidden states are not one per block")
    if not given:
        return Finding(NAME, "not applicable", None, "the library hands out no hidden states of this model")
    worst, compared, limit = 0.0, 0, tolerance(model)
    last = ""
    for part, states in given.items():
        layers = _layers(model, x, part)
        names = [f"{kind}.{layer}" for layer in layers for kind in ("resid_pre", "resid_post")]
        try:
            ours = lens.cache(x, names, part=part)
        except ValueError as error:
            return Finding(NAME, "not applicable", None, str(error))
        again = 0
        for index, layer in enumerate(layers):
            again += index > 0 and _one_block(ours, layers[index - 1], layer)  # several attentions, each with a number
            block = layer - again
            for name, at in ((f"resid_pre.{layer}", block), (f"resid_post.{layer}", block + 1)):
                if at >= len(states):
                    said = f"{name} should be entry {at} of the library's hidden states, which has {len(states)}"
                    return Finding(NAME, "failed", float("inf"), said)
                if states[at].shape != ours[name].shape == states[at].transpose(0, 1).shape:
                    states[at] = states[at].transpose(0, 1)  # some hand them out as [token, batch, width]
                if ours[name].numel() != states[at].numel() or ours[name].ndim < states[at].ndim:
                    said = f"the library's hidden states are not one per block: {list(states[at].shape)} beside {name}"
                    return Finding(NAME, "not applicable", None, said)
                off = apart([ours[name]], [states[at]])
                if off > limit and at == len(states) - 1 and _is_normed(model, x, ours[name], states[at], limit):
                    last = "; its last entry is what the final norm makes of what leaves the last block"
                    continue
                elsewhere = compared == 0 and _place(ours[name], states, limit) is None
                if off > limit and elsewhere and _follow(ours, layers, limit):
                    said = f"the library's hidden states are none of those between the blocks, which follow each other ({name})"
                    return Finding(NAME, "not applicable", None, said)
                if off > limit:
                    return Finding(NAME, "failed", off, _told(name, at, ours[name], states, limit))
                worst, compared = max(worst, off), compared + 1
    said = f"{compared} readings are the library's hidden states, entry n being what enters block n"
    return Finding(NAME, "ok", worst, said + last)


def _layers(model: nn.Module, x: Mapping[str, Any], part: str | None) -> list[int]:
    layers: set[int] = set()

    def see(call: Call) -> Tensor | None:
        if call.site.role == "self" and (call.site.main if part is None else call.site.part == part):
            layers.add(call.site.layer)
        return None

    watch(model, x, see)
    return sorted(layers)


def _is_normed(model: nn.Module, x: Mapping[str, Any], before: Tensor, after: Tensor, limit: float) -> bool:
    """Say whether a norm of the model turns the one tensor into the other."""
    found: list[bool] = []

    def compare(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            found.append(max(apart([args[0]], [before]), apart([output], [after])) <= limit)

    norms = [module for module in model.modules() if "norm" in type(module).__name__.lower()]
    handles = [module.register_forward_hook(compare) for module in norms]
    try:
        run(model, x)
    finally:
        for handle in handles:
            handle.remove()
    return any(found)


def _one_block(ours: Mapping[str, Tensor], before: int, layer: int) -> bool:
    """Say whether two attentions stand in the same block, around which the same is read."""
    return all(torch.equal(ours[f"{kind}.{before}"], ours[f"{kind}.{layer}"]) for kind in ("resid_pre", "resid_post"))


def _follow(ours: Mapping[str, Tensor], layers: list[int], limit: float) -> bool:
    """Say whether what leaves each block is what enters the next, which shows that the readings are the residual stream."""
    pairs = [
        (ours[f"resid_post.{a}"], ours[f"resid_pre.{b}"]) for a, b in pairwise(layers) if not _one_block(ours, a, b)
    ]
    return bool(pairs) and all(apart([a], [b]) <= limit for a, b in pairs)


def _place(ours: Tensor, states: list[Tensor], limit: float) -> int | None:
    return next((place for place, state in enumerate(states) if apart([ours], [state]) <= limit), None)


def _told(name: str, at: int, ours: Tensor, states: list[Tensor], limit: float) -> str:
    other = _place(ours, states, limit)
    return f"{name} is not entry {at} of the library's hidden states, but " + (
        "none of them" if other is None else f"entry {other}"
    )
