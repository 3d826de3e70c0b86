"""The residual streams that `lens.cache` reads are those of the library's recorder, layer by layer."""

from collections.abc import Mapping
from typing import Any

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
    given = {part: list(states) for field, part in FIELDS.items() if (states := getattr(output, field, None))}
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
        for layer in layers:
            for name, at in ((f"resid_pre.{layer}", layer), (f"resid_post.{layer}", layer + 1)):
                if at >= len(states):
                    said = f"{name} should be entry {at} of the library's hidden states, which has {len(states)}"
                    return Finding(NAME, "failed", float("inf"), said)
                if ours[name].numel() != states[at].numel():
                    said = f"the library's hidden states are not one per block: {list(states[at].shape)} beside {name}"
                    return Finding(NAME, "not applicable", None, said)
                if states[at].shape != ours[name].shape == states[at].transpose(0, 1).shape:
                    states[at] = states[at].transpose(0, 1)  # some hand them out as [token, batch, width]
                off = apart([ours[name]], [states[at]])
                if off > limit and at == len(states) - 1 and _is_normed(model, x, ours[name], states[at], limit):
                    last = "; its last entry is what the final norm makes of what leaves the last block"
                    continue
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


def _told(name: str, at: int, ours: Tensor, states: list[Tensor], limit: float) -> str:
    other = next((place for place, state in enumerate(states) if apart([ours], [state]) <= limit), None)
    return f"{name} is not entry {at} of the library's hidden states, but " + (
        "none of them" if other is None else f"entry {other}"
    )
