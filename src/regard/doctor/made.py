"""Random ids, noise in the shapes that models take, and what a configuration says about those."""

import inspect
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..lens.aside import device_of

FRAMES = (32, 64, 100, 200)
"""Numbers of frames of sound to try, where the configuration names none."""


def random_ids(model: nn.Module, batch: int, tokens: int) -> Tensor | None:
    """Return random token ids, none of them special, [batch, token]; None for a model without a vocabulary."""
    config: Any = getattr(model, "config", None)
    text = _text(config)
    size = integer(text, "vocab_size", "src_vocab_size")
    if size is None:
        return None
    special = special_ids(model)
    plain = torch.tensor([token for token in range(size) if token not in special])
    drawn = torch.randint(len(plain), (batch, tokens), generator=torch.Generator().manual_seed(0))
    return plain[drawn].to(device_of(model))


def special_ids(model: nn.Module) -> list[int]:
    """Return the ids that a model's configuration names as those of special tokens, none twice."""
    config: Any = getattr(model, "config", None)
    return sorted(
        {
            value
            for one in (config, _text(config))
            for name, value in vars(one).items()
            if name.endswith(("token_id", "token_index", "patch_id")) and isinstance(value, int) and value >= 0
        }
    )


def _text(config: Any) -> Any:
    """Return the configuration of what reads a model's texts."""
    if not hasattr(config, "get_text_config"):
        return config
    try:
        return config.get_text_config()
    except ValueError:  # an encoder and a decoder that are models of their own
        return config.get_text_config(encoder=True)


def noise(model: nn.Module, *shape: int) -> Tensor:
    """Return normal numbers in a model's precision and on its device."""
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device_of(model), dtype)


def takes(model: nn.Module, name: str) -> bool:
    """Say whether a model's forward pass has a parameter of this name."""
    return name in inspect.signature(model.forward).parameters


def integer(config: Any, *names: str) -> int | None:
    """Return the first of these fields of a configuration that is a whole number."""
    return next((value for name in names if isinstance(value := getattr(config, name, None), int)), None)


def image_size(config: Any) -> tuple[int, int] | None:
    """Return the height and width of the images that a configuration, or its vision part, names."""
    for owner in (getattr(config, "vision_config", None), getattr(config, "backbone_config", None), config):
        size = getattr(owner, "image_size", None)
        if isinstance(size, int):
            return size, size
        if isinstance(size, tuple | list) and len(size) == 2:
            return size[0], size[1]
    return None


def patched(model: nn.Module, vision: Any) -> Iterator[dict[str, Any]]:
    """Yield two images as rows of patches with their grid, [time, height, width] in patches."""
    patch, merge = integer(vision, "patch_size"), integer(vision, "spatial_merge_size", "merge_size") or 1
    channels = integer(vision, "in_channels", "num_channels", "in_chans") or 3
    if patch is None:
        return
    times = dict.fromkeys((integer(vision, "temporal_patch_size") or 1, 1))
    for time in times:
        grid = torch.tensor([[1, 2 * merge, 3 * merge]] * 2, device=device_of(model))
        for shape in ((channels * time * patch**2,), (channels, patch, patch)):
            yield {"pixel_values": noise(model, 2 * 6 * merge**2, *shape), "image_grid_thw": grid}


def frames_of(config: Any) -> list[int]:
    """Return the number of frames of sound that a configuration names, if it does."""
    positions = integer(config, "max_source_positions")
    return [] if positions is None else [2 * positions]
