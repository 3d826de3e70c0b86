"""What cannot be said as plain data: models made of models, rotary tables that the caller makes, and caches."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

Make = Callable[[Callable[[str], nn.Module]], nn.Module]
"""Makes a model, given what makes the small instances of other classes."""
Inputs = Callable[[nn.Module], dict[str, Any]]


@dataclass(frozen=True)
class Special:
    """How a class is made, where not from its own arguments; and inputs beside those of its case."""

    make: Make | None = None
    x: Inputs = lambda model: {}


def _several(kind: str, part: str, count: int = 2) -> Make:
    """Return what makes a model of several models of one class."""

    def make(small: Callable[[str], nn.Module]) -> nn.Module:
        import diffusers.models.controlnets as controlnets

        many: nn.Module = getattr(controlnets, kind)([small(part) for _ in range(count)])
        return many

    return make


def _z_image_control(small: Callable[[str], nn.Module]) -> nn.Module:
    from diffusers import ZImageControlNetModel

    control, transformer = small("ZImageControlNetModel"), small("ZImageTransformer2DModel")
    shared: nn.Module = ZImageControlNetModel.from_transformer(control, transformer)
    return shared


def _rotary(tokens: int, width: int) -> tuple[Tensor, Tensor]:
    """Return cosines and sines, [token, width], that turn each pair of channels by its own angle."""
    angle = torch.arange(tokens)[:, None] / torch.arange(1, width // 2 + 1)
    doubled = angle.repeat_interleave(2, dim=1)
    return doubled.cos(), doubled.sin()


def _tiled(small: Callable[[str], nn.Module]) -> nn.Module:
    """Return the one autoencoder that encodes by tiles only, with tiles as small as it is."""
    model: Any = small("AutoencoderKLAllegro")
    model.enable_tiling()
    model.kernel, model.stride = (8, 32, 32), (6, 24, 24)
    model.tile_overlap_t, model.tile_overlap_h, model.tile_overlap_w = 2, 8, 8
    tiled: nn.Module = model
    return tiled


def _control_of_cosmos(model: nn.Module) -> dict[str, Any]:
    try:
        import_module("torchvision")
    except Exception as error:
        raise ImportError("the forward pass of this class needs torchvision, which does not import here") from error
    return {}


def _lumina(model: nn.Module) -> dict[str, Any]:
    from diffusers.models.embeddings import get_2d_rotary_pos_embed_lumina

    return {"image_rotary_emb": get_2d_rotary_pos_embed_lumina(16, 8, 8)}


def _film(model: nn.Module) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(1)
    return {"encodings_and_masks": [(torch.randn(2, 5, 64, generator=draw), torch.ones(2, 5))]}


def _animated(model: nn.Module) -> dict[str, Any]:
    from diffusers.models.transformers.transformer_wan_animate_2 import WanAnimate2KVCache

    return {"kv_cache": WanAnimate2KVCache(2)}


SPECIAL: dict[str, Special] = {
    "AutoencoderKLAllegro": Special(_tiled),
    "CosmosControlNetModel": Special(x=_control_of_cosmos),
    "FluxMultiControlNetModel": Special(_several("FluxMultiControlNetModel", "FluxControlNetModel")),
    "HunyuanDiT2DMultiControlNetModel": Special(
        _several("HunyuanDiT2DMultiControlNetModel", "HunyuanDiT2DControlNetModel")
    ),
    "MultiControlNetModel": Special(_several("MultiControlNetModel", "ControlNetModel")),
    "MultiControlNetUnionModel": Special(_several("MultiControlNetUnionModel", "ControlNetUnionModel")),
    "QwenImageMultiControlNetModel": Special(_several("QwenImageMultiControlNetModel", "QwenImageControlNetModel", 1)),
    "SD3MultiControlNetModel": Special(_several("SD3MultiControlNetModel", "SD3ControlNetModel")),
    "HunyuanDiT2DModel": Special(x=lambda model: {"image_rotary_emb": _rotary(16, 16)}),
    "HunyuanDiT2DControlNetModel": Special(x=lambda model: {"image_rotary_emb": _rotary(16, 16)}),
    "LuminaNextDiT2DModel": Special(x=_lumina),
    "SanaWMLTX2RefinerTransformer3DModel": Special(x=lambda model: {"video_rotary_emb": _rotary(12, 64)}),
    "StableAudioDiTModel": Special(x=lambda model: {"rotary_embedding": _rotary(13, 8)}),
    "T5FilmDecoder": Special(x=_film),
    "WanAnimate2Transformer3DModel": Special(x=_animated),
    "ZImageControlNetModel": Special(_z_image_control),
}
