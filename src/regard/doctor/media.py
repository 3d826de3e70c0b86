"""Short inputs of a model that also sees or hears: text in which tokens stand for images or sounds.

How many tokens stand for an image is what the model's own `get_image_features` returns for it.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..lens import Lens
from .made import FRAMES, frames_of, image_size, integer, noise, patched, random_ids, takes
from .passes import run

TOKENS = 8
"""Of text, around the tokens of an image or a sound."""
_UNFIT = (TypeError, ValueError, RuntimeError, IndexError, AttributeError, KeyError, NotImplementedError)


def with_media(lens: Lens) -> list[dict[str, Any]]:
    """Return inputs of two examples with an image each, and with a sound each, as far as the model takes them."""
    model: Any = lens.model
    given = {"image": _images(model), "audio": _sounds(model)}
    found = (next(_standing(model, kind, media), None) for kind, media in given.items())
    return [x for x in found if x is not None]


def _standing(model: Any, kind: str, media: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield those inputs that the model takes with tokens in their place."""
    features, token = getattr(model, f"get_{kind}_features", None), _token(model, kind)
    if features is None or token is None or not takes(model, "input_ids"):
        return
    known = inspect.signature(features).parameters
    for x in media:
        try:
            with torch.no_grad():
                count = _rows(features(**{name: value for name, value in x.items() if name in known}))
            ids = random_ids(model, 2, TOKENS)
            if ids is not None and count and count % 2 == 0:
                joined = _joined(model, ids, token, count // 2) | x
                run(model, joined)
                yield joined
        except _UNFIT:
            continue


def _token(model: nn.Module, kind: str) -> int | None:
    config: Any = getattr(model, "config", None)
    for name in (f"{kind}_token_id", f"{kind}_token_index", f"{kind}_patch_id"):
        token = getattr(config, name, None)
        if isinstance(token, int):
            return token
    return None


def _joined(model: nn.Module, ids: Tensor, token: int, count: int) -> dict[str, Any]:
    """Put `count` tokens of a medium behind the second token of texts."""
    medium = ids.new_full((2, count), token)
    joined = torch.cat([ids[:, :2], medium, ids[:, 2:]], 1)
    types = "mm_token_type_ids"
    return {"input_ids": joined} | ({types: (joined == token).long()} if takes(model, types) else {})


def _rows(features: Any) -> int:
    """Return how many vectors there are in what a model makes of its images."""
    found = getattr(features, "pooler_output", None)
    if found is None:
        found = features[0] if isinstance(features, tuple | dict) or hasattr(features, "to_tuple") else features
    if isinstance(found, list | tuple):
        return sum(_rows(one) for one in found)
    return int(found.shape[:-1].numel()) if isinstance(found, Tensor) else 0


def _images(model: nn.Module) -> Iterator[dict[str, Any]]:
    """Yield two images in the forms that models of text and images take them in."""
    config: Any = getattr(model, "config", None)
    vision = getattr(config, "vision_config", config)
    if takes(model, "image_grid_thw"):
        yield from patched(model, vision)
    size, channels = image_size(config), integer(vision, "num_channels", "in_channels") or 3
    for height, width in [size] if size else [(32, 32), (64, 64)]:
        sizes = {"image_sizes": torch.tensor([[height, width]] * 2)}
        for crops in ((), (1,), (2,), (3,), (5,)):
            x = {"pixel_values": noise(model, 2, *crops, channels, height, width)}
            yield x
            if takes(model, "image_sizes"):
                yield x | sizes


def _sounds(model: nn.Module) -> Iterator[dict[str, Any]]:
    """Yield two sounds in the forms that models of text and sound take them in."""
    config: Any = getattr(model, "config", None)
    audio = getattr(config, "audio_config", getattr(config, "encoder_config", config))
    bins = integer(audio, "num_mel_bins", "feature_size", "input_feat_size", "input_dim", "mel_bins")
    for frames in (*frames_of(audio), *FRAMES):
        for shape in ((2, bins, frames), (2, frames, bins)) if bins else ():
            whole = torch.ones(2, frames, dtype=torch.long)
            for mask in ("input_features_mask", "feature_attention_mask"):
                if takes(model, mask):
                    yield {"input_features": noise(model, *shape), mask: whole}
                    yield {"input_features": noise(model, *shape), mask: whole.bool()}
            yield {"input_features": noise(model, *shape)}
    yield {"input_values": noise(model, 2, 1, 3200)}
    yield {"input_values": noise(model, 2, 3200)}
