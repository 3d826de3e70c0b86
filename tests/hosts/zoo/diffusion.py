"""Denoisers of diffusers, which attend through torch's function."""

from typing import Any

import torch
from torch import nn

from .case import Case, noise


def _unet() -> nn.Module:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=24, norm_num_groups=4,
        attention_head_dim=2, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip


def _sd3() -> nn.Module:
    from diffusers import SD3Transformer2DModel

    return SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=4,
        joint_attention_dim=24, caption_projection_dim=32, pooled_projection_dim=16, out_channels=4,
        pos_embed_max_size=8,
    )  # fmt: skip


def _flux() -> nn.Module:
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=2, num_single_layers=2, attention_head_dim=8, num_attention_heads=4,
        joint_attention_dim=24, pooled_projection_dim=16, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip


def _unet_inputs() -> dict[str, Any]:
    return {
        "sample": noise(2, 4, 8, 8),
        "timestep": torch.tensor(10),
        "encoder_hidden_states": noise(2, 5, 24, seed=3),
    }


def _sd3_inputs() -> dict[str, Any]:
    return {
        "hidden_states": noise(2, 4, 8, 8),
        "timestep": torch.tensor([10, 10]),
        "encoder_hidden_states": noise(2, 5, 24, seed=3),
        "pooled_projections": noise(2, 16, seed=4),
    }


def _flux_inputs() -> dict[str, Any]:
    places = torch.cartesian_prod(torch.zeros(1), torch.arange(4.0), torch.arange(4.0))
    return {
        "hidden_states": noise(2, 16, 4),
        "timestep": torch.tensor([0.5, 0.5]),
        "encoder_hidden_states": noise(2, 5, 24, seed=3),
        "pooled_projections": noise(2, 16, seed=4),
        "img_ids": places,
        "txt_ids": torch.zeros(5, 3),
    }


JOINT = ("to_out/0", "to_add_out", "../proj_out")
BOTH = {("main", "self"): 4, ("main", "cross"): 4}
UNET = Case("unet", _unet, _unet_inputs, BOTH, projections=("to_out/0",), tier="sdpa")
SD3 = Case("sd3", _sd3, _sd3_inputs, projections=JOINT, value_dim=8, tier="sdpa", scale=2.0)
FLUX = Case("flux", _flux, _flux_inputs, {("main", "self"): 4}, projections=JOINT, value_dim=8, tier="sdpa", scale=2.0)
DIFFUSION = [UNET, SD3, FLUX]
