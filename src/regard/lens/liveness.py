"""Proof, on attaching, that what a lens hears is what the model computes: a perturbed tap must move the output."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..core.call import Call
from ..hosts import Tap
from ..hosts.refuse import Refusal
from ..hosts.stance import uncompiled
from .aside import device_of, drawing_alike, evaluating
from .outputs import tensors


def try_out(model: nn.Module) -> dict[str, Any] | None:
    """Return small inputs that a transformers model of text or images takes; None where none are known."""
    names = inspect.signature(model.forward).parameters
    config: Any = getattr(model, "config", None)
    device = device_of(model)
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" not in names:
        return None
    if "input_ids" in names and isinstance(getattr(text, "vocab_size", None), int):
        ids = torch.arange(4, device=device)[None] % text.vocab_size
        return {"input_ids": ids} | ({"decoder_input_ids": ids} if getattr(config, "is_encoder_decoder", False) else {})
    size, channels = getattr(config, "image_size", None), getattr(config, "num_channels", 3)
    if "pixel_values" in names and isinstance(size, int):
        pixels = torch.linspace(-1, 1, channels * size * size, device=device, dtype=dtype)
        return {"pixel_values": pixels.view(1, channels, size, size)}
    return None


def prove(model: nn.Module, x: Mapping[str, Any], note: Callable[[str], None]) -> bool:
    """Run the model on inputs as it is, listened to, and with every attention output halved; False where it cannot be run so.

    `note` is told what the tap notices. Raises ValueError where no attention is heard, where listening changes the output, or
    where halving does not.
    """
    kinds: set[str] = set()
    halving = False

    def hear(call: Call) -> Tensor | None:
        kinds.add(type(model.get_submodule(call.site.path)).__name__)
        return call.host() * 0.5 if halving else None

    tap = Tap(model, hear)
    with evaluating(model), uncompiled():  # compiling for three passes takes longer than they do
        plain = _run(model, x)
        with tap.listening():
            listened = _run(model, x)
            halving = True
            moved = _run(model, x)
    for one in tap.notes:
        note(one)
    if plain is None or listened is None or moved is None:
        return False
    name = type(model).__name__
    if not kinds:
        raise ValueError(deaf(model))
    if not tap.notes and not _same(plain, listened, 1e-3):  # a note says that outputs may differ, and why
        raise ValueError(f"listening to {name} changes what it computes, so nothing measured on it could be trusted")
    if _same(plain, moved, 0.0):
        raise ValueError(
            f"the attention of {name} ({', '.join(sorted(kinds))}) is heard, but halving it does not move the output: "
            "what is heard is not what the model uses (or the layers behind it are all zero); attach with check=False to go on"
        )
    return True


def _run(model: nn.Module, x: Mapping[str, Any]) -> list[Tensor] | None:
    extra = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}
    try:
        with torch.no_grad(), drawing_alike(model):  # some draw in their forward pass, and three passes are compared
            output = model(**{**x, **extra})
    except Refusal:
        raise
    except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, KeyError):
        return None  # it wants other inputs, and says so where somebody gives them
    return tensors(output) or None


def _same(a: list[Tensor], b: list[Tensor], tolerance: float) -> bool:
    if len(a) != len(b):
        return False
    return all(
        x.shape == y.shape
        and (
            torch.equal(x, y)
            if tolerance == 0
            else torch.allclose(x.float(), y.float(), rtol=tolerance, atol=tolerance, equal_nan=True)
        )
        for x, y in zip(a, b, strict=True)
    )


def deaf(model: nn.Module) -> str:
    """Say that no call of a model's attention is heard, and what to do."""
    kinds = sorted({type(m).__name__ for m in model.modules() if "attention" in type(m).__name__.lower()})
    name = type(model).__name__
    if not kinds:
        return (
            f"{name} made no call of attention that can be seen, and has no module that is named as attention: a model without "
            "attention, as a state-space model, cannot be measured; where attention is written out (exp and a sum), call "
            "scaled_dot_product_attention there"
        )
    return (
        f"{name} has attention modules ({', '.join(kinds)}), but none of their calls can be seen: they attend in a way of their "
        "own (a kernel, or exp and a sum); load the model with attn_implementation='sdpa' or 'eager', or call "
        "scaled_dot_product_attention in your own module"
    )
