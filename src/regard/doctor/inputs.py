"""A few short inputs for a model of which little is known."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..hosts.refuse import Refusal
from ..lens import Lens
from ..lens.aside import device_of
from .made import FRAMES, frames_of, image_size, integer, noise, random_ids
from .media import with_media
from .passes import run

TEXTS = (
    "The old map showed a road that no longer led anywhere, and the old map was wrong about the river as well.",
    "Ice floats on water, so ponds freeze from the top and the fish below live through the winter until the ice melts.",
)
TOKENS = 12
PADDING = 3
SAMPLES = 3200
"""Of sound that is given as it is: 9 or 10 frames of the usual models."""
_BINS = (
    "num_mel_bins",
    "feature_size",
    "mel_bins",
    "input_feat_per_channel",
    "input_dim",
    "feature_projection_input_dim",
)
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


def padded(model: nn.Module, x: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the inputs with the last example's first tokens as padding.

    None for inputs that are not of tokens alone, and for a model that is not told of padding.
    """
    found = tokens_of(x)
    if found is None:
        return None
    name, ids = found
    masked = mask_name(name)
    if masked not in inspect.signature(model.forward).parameters:
        return None
    mask = x[masked].clone() if isinstance(x.get(masked), Tensor) else torch.ones_like(ids)
    mask[-1, :PADDING] = 0
    return {**x, masked: mask}


def tokens_of(x: Mapping[str, Any]) -> tuple[str, Tensor] | None:
    """Return the name and the ids, [batch, token], of the tokens that the output is about.

    None where there are none, where some of them stand for images, and where examples are packed into one row.
    """
    if "input_ids" in x and any(name.startswith("pixel_values") for name in x):
        return None
    name = next((name for name in ("decoder_input_ids", "input_ids") if isinstance(x.get(name), Tensor)), None)
    if name is None or x[name].ndim != 2 or len(x[name]) != len(x.get("input_ids", x[name])):
        return None
    return name, x[name]


def alone(x: Mapping[str, Any]) -> bool:
    """Say whether inputs are `input_ids` and what goes with any ids, so that a piece of the ids can stand for a piece of them."""
    others = {name for name, value in x.items() if isinstance(value, Tensor)} - {"attention_mask", "token_type_ids"}
    return others == {"input_ids"}


def mask_name(ids: str) -> str:
    """Return what the padding mask that belongs to ids is called."""
    return ids.replace("input_ids", "attention_mask")


def _candidates(lens: Lens) -> Iterator[dict[str, Any]]:
    model = lens.model
    names = inspect.signature(model.forward).parameters
    config: Any = getattr(model, "config", None)
    texts = [x for x in (_text(lens), *_ids(model)) if x is not None] if "input_ids" in names else []
    if "decoder_input_ids" in names and (getattr(config, "is_encoder_decoder", False) or not texts):
        texts = [{**x, "decoder_input_ids": x["input_ids"].flip(-1)} for x in texts]
    yield from texts
    for place in ({"bbox": _boxes(model)}, {"lang_ids": torch.zeros(2, dtype=torch.long)}):
        if place.keys() <= names.keys():
            yield from ({**x, **place} for x in texts)
    for media in (_pixels, _videos, _sounds, _series):
        for x in media(model):
            if x.keys() <= names.keys():
                yield from ({**text, **x} for text in texts)
                ids = random_ids(model, 2, TOKENS) if "decoder_input_ids" in names else None
                yield x | ({} if ids is None else {"decoder_input_ids": ids})
    yield from with_media(lens)


def _text(lens: Lens) -> dict[str, Any] | None:
    if lens.processor is None:
        return None
    try:
        given = dict(lens.encode(list(TEXTS), max_tokens=TOKENS))
    except _UNFIT:
        return None
    taken = set(inspect.signature(lens.model.forward).parameters) - {"attention_mask"}
    return {name: value for name, value in given.items() if name in taken}


def _ids(model: nn.Module) -> Iterator[dict[str, Any]]:
    for tokens in (TOKENS, 2 * TOKENS, 4 * TOKENS):
        ids = random_ids(model, len(TEXTS), tokens)
        if ids is not None:
            yield {"input_ids": ids}


def _boxes(model: nn.Module) -> Tensor:
    corner = torch.arange(TOKENS, device=device_of(model))
    return torch.stack([corner, corner, corner + 5, corner + 7], -1).expand(2, -1, -1)


def _pixels(model: nn.Module) -> Iterator[dict[str, Any]]:
    config: Any = getattr(model, "config", None)
    channels = integer(getattr(config, "vision_config", config), "num_channels", "in_channels") or 3
    named = image_size(config)
    for size in dict.fromkeys((*([named] if named else []), (32, 32), (64, 64), (224, 224))):
        yield {"pixel_values": noise(model, 2, channels, *size)}
    if named:
        yield {"pixel_values": noise(model, 2, 2, channels, *named)}  # pairs of images


def _videos(model: nn.Module) -> Iterator[dict[str, Any]]:
    config: Any = getattr(model, "config", None)
    frames = integer(config, "num_frames", "frames_per_clip") or 2
    for height, width in [size] if (size := image_size(config) or _crop(config)) else [(32, 32)]:
        for name in ("pixel_values", "pixel_values_videos"):
            yield {name: noise(model, 2, frames, integer(config, "num_channels", "in_chans") or 3, height, width)}


def _crop(config: Any) -> tuple[int, int] | None:
    size = integer(config, "crop_size")
    return None if size is None else (size, size)


def _sounds(model: nn.Module) -> Iterator[dict[str, Any]]:
    """Yield sound as it is, and as features of each frame."""
    config: Any = getattr(model, "config", None)
    audio = getattr(config, "encoder_config", getattr(config, "audio_config", config))
    bins = next((n for one in (config, audio) if (n := integer(one, *_BINS)) is not None), None)
    for samples in (SAMPLES, 2 * SAMPLES, 16000):
        yield {"input_values": noise(model, 2, samples)}
        yield {"input_values": noise(model, 2, 1, samples)}
    if bins is None:
        return
    for frames in (*frames_of(config), *frames_of(audio), *FRAMES):
        for shape in ((2, bins, frames), (2, frames, bins)):
            yield {"input_features": noise(model, *shape)}
            yield {"input_values": noise(model, *shape)}


def _series(model: nn.Module) -> Iterator[dict[str, Any]]:
    """Yield time series."""
    config: Any = getattr(model, "config", None)
    length, channels = integer(config, "context_length"), integer(config, "num_input_channels") or 1
    if length is not None:
        yield {"past_values": noise(model, 2, length, channels)}
        yield {"past_values": noise(model, 2, length)}
