"""A few short inputs for a model of which little is known."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..hosts.refuse import Refusal
from ..lens import Lens
from .passes import run

TEXTS = (
    "The old map showed a road that no longer led anywhere, and the old map was wrong about the river as well.",
    "Ice floats on water, so ponds freeze from the top and the fish below live through the winter until the ice melts.",
)
TOKENS = 12
PADDING = 3
SAMPLES = 3200
"""Of sound that is given as it is: 9 or 10 frames of the usual models."""
_UNFIT = (TypeError, ValueError, RuntimeError, IndexError, AttributeError, KeyError)


def short_inputs(lens: Lens) -> dict[str, Any]:
    """Return two short examples of one length that the model takes; raises ValueError where none are known."""
    for x in _candidates(lens):
        try:
            run(lens.model, x)
        except Refusal:
            raise
        except _UNFIT:
            continue
        return x
    raise ValueError(f"no short inputs are known that {type(lens.model).__name__} takes: give some, lens.doctor(x)")


def padded(x: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the inputs with the last example's first tokens as padding; None for those that are not of tokens alone."""
    found = tokens_of(x)
    if found is None:
        return None
    name, ids = found
    masked = mask_name(name)
    mask = x[masked].clone() if isinstance(x.get(masked), Tensor) else torch.ones_like(ids)
    mask[-1, :PADDING] = 0
    return {**x, masked: mask}


def tokens_of(x: Mapping[str, Any]) -> tuple[str, Tensor] | None:
    """Return the name and the ids, [batch, token], of the tokens that the output is about.

    None where there are none, and where some of them stand for images.
    """
    if "input_ids" in x and any(name.startswith("pixel_values") for name in x):
        return None
    name = next((name for name in ("decoder_input_ids", "input_ids") if isinstance(x.get(name), Tensor)), None)
    return None if name is None else (name, x[name])


def mask_name(ids: str) -> str:
    """Return what the padding mask that belongs to ids is called."""
    return ids.replace("input_ids", "attention_mask")


def random_ids(model: nn.Module, batch: int, tokens: int) -> Tensor | None:
    """Return random token ids, none of them special, [batch, token]; None for a model without a vocabulary."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    size = getattr(text, "vocab_size", None)
    if not isinstance(size, int):
        return None
    special = {
        value
        for one in (config, text)
        for name, value in vars(one).items()
        if name.endswith(("token_id", "token_index")) and isinstance(value, int)
    }
    plain = torch.tensor([token for token in range(size) if token not in special])
    drawn = torch.randint(len(plain), (batch, tokens), generator=torch.Generator().manual_seed(0))
    return plain[drawn].to(_device(model))


def _candidates(lens: Lens) -> Iterator[dict[str, Any]]:
    model = lens.model
    names = inspect.signature(model.forward).parameters
    texts = [x for x in (_text(lens), _ids(model)) if x is not None] if "input_ids" in names else []
    config: Any = getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False) and "decoder_input_ids" in names:
        texts = [{**x, "decoder_input_ids": x["input_ids"].flip(-1)} for x in texts]
    pixels = _pixels(model) if "pixel_values" in names else {}
    yield from texts
    if pixels:
        yield from ({**x, **pixels} for x in texts)
        yield pixels
    if "input_values" in names and hasattr(config, "conv_stride"):
        yield {"input_values": _noise(model, 2, SAMPLES)}
    sound = _sound(model) if "input_features" in names else {}
    if sound:
        ids = random_ids(model, 2, TOKENS)
        yield sound | ({"decoder_input_ids": ids} if ids is not None and "decoder_input_ids" in names else {})


def _text(lens: Lens) -> dict[str, Any] | None:
    if lens.processor is None:
        return None
    try:
        given = dict(lens.encode(list(TEXTS), max_tokens=TOKENS))
    except _UNFIT:
        return None
    taken = set(inspect.signature(lens.model.forward).parameters) - {"attention_mask"}
    return {name: value for name, value in given.items() if name in taken}


def _ids(model: nn.Module) -> dict[str, Any] | None:
    ids = random_ids(model, len(TEXTS), TOKENS)
    return None if ids is None else {"input_ids": ids}


def _pixels(model: nn.Module) -> dict[str, Any]:
    config: Any = getattr(model, "config", None)
    vision = getattr(config, "vision_config", config)
    size, channels = getattr(vision, "image_size", None), getattr(vision, "num_channels", 3)
    if isinstance(size, int):
        size = (size, size)
    if not isinstance(size, tuple | list) or len(size) != 2:
        return {}
    return {"pixel_values": _noise(model, 2, channels, *size)}


def _sound(model: nn.Module) -> dict[str, Any]:
    config: Any = getattr(model, "config", None)
    bins, positions = getattr(config, "num_mel_bins", None), getattr(config, "max_source_positions", None)
    if not isinstance(bins, int) or not isinstance(positions, int):
        return {}
    return {"input_features": _noise(model, 2, bins, 2 * positions)}


def _noise(model: nn.Module, *shape: int) -> Tensor:
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(_device(model), dtype)


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
