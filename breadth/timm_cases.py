"""How timm's architectures with attention are made small, as plain data.

A family is a module of `timm.models`, and there is one more for each further kind of attention that a module holds.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """A module of timm, a model's name or a class's in it, what it is made with, and the height and width of its images."""

    module: str
    made: str
    config: dict[str, Any] = field(default_factory=dict)
    image: tuple[int, int] = (32, 48)


_PLAIN = {"img_size": (32, 48), "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
_SQUARE = (64, 64)
_THREE = {"depths": (1, 1, 1), "embed_dims": (16, 32, 64), "num_heads": (2, 4, 4)}
_FOUR = {"depths": (1, 1, 1, 1), "embed_dims": (16, 32, 32, 64), "num_heads": (2, 4, 4, 4)}
_WINDOWS = {"img_size": 32, "patch_size": 2, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4}

CASES: dict[str, Case] = {
    "beit": Case("beit", "beit_base_patch16_224", _PLAIN),
    "beitv2": Case(
        "beit", "beit_base_patch16_224", _PLAIN | {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True},
    ),
    "botnet": Case("byoanet", "botnet26t_256", {"img_size": 64}, _SQUARE),
    "halonet": Case("byoanet", "halonet26t", {}, (256, 256)),
    "lambda_resnet": Case("byoanet", "lambda_resnet26t", {}, _SQUARE),
    "clip_resnet": Case("byobnet", "resnet50_clip", {"img_size": 64}, _SQUARE),
    "cait": Case("cait", "cait_xxs24_224", _PLAIN),
    "convit": Case(
        "convit", "convit_tiny", _PLAIN | {"embed_dim": 8, "local_up_to_layer": 1, "img_size": 32}, (32, 32),
    ),
    "cpubone": Case("cpubone", "cpubone_nano", {}, (64, 96)),
    "crossvit": Case(
        "crossvit", "crossvit_tiny_240",
        {
            "img_size": 48, "img_scale": (1.0, 32 / 48), "patch_size": (8, 8), "embed_dim": (16, 32),
            "depth": ((1, 1, 0), (1, 1, 0)), "num_heads": (4, 4), "mlp_ratio": (2, 2, 1),
        },
        (48, 48),
    ),
    "csatv2": Case(
        "csatv2", "csatv2", {"dims": (16, 16, 32, 32), "depths": (1, 1, 1, 1), "transformer_depths": (0, 0, 1, 1)},
        (256, 256),
    ),
    "davit": Case("davit", "davit_tiny", _FOUR, (64, 96)),
    "deepseek_vit": Case(
        "deepseek_vit", "deepseek_vit_412m",
        {"img_size": (24, 48), "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 4}, (24, 48),
    ),
    "deit": Case("deit", "deit_tiny_distilled_patch16_224", _PLAIN),
    "edgenext": Case(
        "edgenext", "edgenext_xx_small", {"dims": (16, 16, 32, 32), "depths": (1, 1, 1, 1), "heads": (4, 4, 4, 4)},
        (64, 96),
    ),
    "efficientformer": Case(
        "efficientformer", "efficientformer_l1", {"depths": (1, 1, 1, 2), "embed_dims": (16, 16, 32, 32)}, (224, 224),
    ),
    "efficientformer_v2": Case("efficientformer_v2", "efficientformerv2_s0", {"img_size": 128}, (128, 128)),
    "efficientvit_msra": Case("efficientvit_msra", "efficientvit_m0", {"img_size": 128}, (128, 128)),
    "eva": Case("eva", "eva02_tiny_patch14_224", _PLAIN),
    "dinov3": Case("eva", "vit_tiny_patch16_dinov3_qkvb", _PLAIN),
    "fastvit": Case("fastvit", "fastvit_sa12", {"layers": (1, 1, 1, 1), "embed_dims": (16, 32, 32, 64)}, (64, 96)),
    "gcvit": Case(
        "gcvit", "GlobalContextVit",
        {
            "img_size": 64, "window_size": (4, 4, 4, 2), "embed_dim": 16, "depths": (1, 2, 1, 1),
            "num_heads": (2, 4, 4, 4),
        },
        _SQUARE,
    ),
    "gemma4_vit": Case(
        "gemma4_vit", "gemma4_vit_167m",
        {
            "img_size": (48, 96), "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4, "head_dim": 8,
            "intermediate_size": 48, "position_embedding_size": 64,
        },
        (48, 96),
    ),
    "hiera": Case(
        "hiera", "hiera_tiny_224",
        {"img_size": (64, 64), "embed_dim": 16, "stages": (1, 1, 1, 1), "mask_unit_size": (8, 8)}, _SQUARE,
    ),
    "hieradet_sam2": Case(
        "hieradet_sam2", "sam2_hiera_tiny",
        {
            "embed_dim": 16, "num_heads": 2, "stages": (1, 1, 2, 1), "global_att_blocks": (3,),
            "window_spec": (4, 4, 4, 2),
        },
        (64, 96),
    ),
    "iformer": Case(
        "iformer", "iformer_t", {"dims": (16, 32, 64, 128), "depths": (1, 1, 3, 3), "attn_groups": (0, 0, 1, 1)},
        (64, 96),
    ),
    "levit": Case("levit", "levit_128s", {"img_size": 64}, _SQUARE),
    "lowformer": Case(
        "lowformer", "lowformer_b0",
        {"width_list": [8, 16, 32, 32, 64], "depth_list": [0, 1, 1, 1, 1], "head_widths": (64, 64)}, (64, 96),
    ),
    "coatnet": Case("maxxvit", "test_coatnet", {"img_size": 64}, _SQUARE),
    "maxvit": Case("maxxvit", "maxvit_rmlp_pico_rw_256", {"img_size": 64}, _SQUARE),
    "maxxvit": Case("maxxvit", "maxxvit_rmlp_nano_rw_256", {"img_size": 64}, _SQUARE),
    "caformer": Case("metaformer", "caformer_s18", {}, (64, 96)),
    "mobilenetv4": Case("mobilenetv3", "mobilenetv4_hybrid_medium_075", {}, (64, 96)),
    "mobilenetv5": Case("mobilenetv5", "mobilenetv5_base", {"channel_multiplier": 0.25}, _SQUARE),
    "mobilevit": Case("mobilevit", "mobilevit_xxs", {}, (64, 96)),
    "mobilevitv2": Case("mobilevit", "mobilevitv2_050", {}, (64, 96)),
    "mvitv2": Case("mvitv2", "mvitv2_tiny", {"img_size": (64, 64)}, _SQUARE),
    "naflexvit": Case(
        "naflexvit", "naflexvit_base_patch16_gap", {"embed_dim": 32, "depth": 2, "num_heads": 4, "patch_size": 8},
        (32, 48),
    ),
    "nest": Case("nest", "Nest", _THREE | {"img_size": 64, "patch_size": 4}, _SQUARE),
    "nextvit": Case("nextvit", "nextvit_small", {"depths": (1, 1, 5, 1)}, (64, 96)),
    "pit": Case(
        "pit", "pit_ti_224", {"img_size": 64, "base_dims": (8, 8, 8), "depth": (1, 1, 1), "heads": (2, 4, 4)}, _SQUARE,
    ),
    "pvt_v2": Case("pvt_v2", "pvt_v2_b0", _FOUR, (64, 96)),
    "pvt_v2_linear": Case("pvt_v2", "pvt_v2_b2_li", _FOUR, (64, 96)),
    "qwen3_vit": Case(
        "qwen3_vit", "qwen3_vit_88m",
        {"img_size": (32, 64), "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4, "pos_embed_grid_size": 4},
        (32, 64),
    ),
    "shvit": Case("shvit", "shvit_s1", {}, (128, 128)),
    "swin_transformer": Case("swin_transformer", "swin_tiny_patch4_window7_224", _WINDOWS, (32, 32)),
    "swin_transformer_v2": Case("swin_transformer_v2", "swinv2_tiny_window8_256", _WINDOWS, (32, 32)),
    "swin_transformer_v2_cr": Case("swin_transformer_v2_cr", "swinv2_cr_tiny_224", _WINDOWS, (32, 32)),
    "tiny_vit": Case("tiny_vit", "tiny_vit_5m_224", _FOUR | {"window_sizes": (4, 4, 4, 2)}, (64, 96)),
    "tnt": Case(
        "tnt", "tnt_s_patch16_224",
        {
            "img_size": 32, "patch_size": 8, "embed_dim": 32, "inner_dim": 8, "depth": 2, "num_heads_inner": 4,
            "num_heads_outer": 4,
        },
        (32, 32),
    ),
    "twins_pcpvt": Case("twins", "twins_pcpvt_small", _FOUR | {"img_size": 64}, _SQUARE),
    "twins_svt": Case(
        "twins", "twins_svt_small", _FOUR | {"img_size": 64, "depths": (2, 2, 2, 2), "wss": (4, 4, 4, 2)}, _SQUARE,
    ),
    "visformer": Case(
        "visformer", "visformer_tiny", {"img_size": 64, "embed_dim": 32, "depth": (1, 1, 1), "num_heads": 4}, _SQUARE,
    ),
    "vision_transformer": Case("vision_transformer", "test_vit", _PLAIN),
    "siglip": Case("vision_transformer", "vit_base_patch16_siglip_224", _PLAIN),
    "aimv2": Case("vision_transformer", "aimv2_large_patch14_224", _PLAIN),
    "parallel_vit": Case("vision_transformer", "vit_small_patch16_18x2_224", _PLAIN),
    "vision_transformer_hybrid": Case(
        "vision_transformer_hybrid", "vit_tiny_r_s16_p8_224",
        {"img_size": (64, 96), "embed_dim": 32, "depth": 2, "num_heads": 4, "patch_size": 1}, (64, 96),
    ),
    "vision_transformer_relpos": Case("vision_transformer_relpos", "test_vit_relpos", _PLAIN),
    "vision_transformer_sam": Case(
        "vision_transformer_sam", "samvit_base_patch16_224",
        _PLAIN | {"img_size": 48, "window_size": 3, "global_attn_indexes": (1,)}, (48, 48),
    ),
    "vitamin": Case("vitamin", "vitamin_small_224", {"img_size": 64, "depth": 2}, _SQUARE),
    "volo": Case(
        "volo", "VOLO",
        {
            "img_size": 64, "layers": (1, 1, 1, 1), "embed_dims": (16, 32, 32, 32), "num_heads": (2, 4, 4, 4),
            "stem_hidden_dim": 16,
        },
        _SQUARE,
    ),
    "xcit": Case("xcit", "xcit_nano_12_p8_224", _PLAIN | {"img_size": 32}, (32, 32)),
}  # fmt: skip

_GATES = "what it calls attention weighs channels or branches"
_CONVOLUTIONS = "convolutions only"
NO_ATTENTION: dict[str, str] = {
    "coat": "its attention is factorised: the softmax normalises keys by themselves, and no query has weights",
    "efficientvim": "a state space; its softmax normalises what is written into the state",
    "efficientvit_mit": "its attention is linear, without a softmax",
    "swiftformer": "its attention is additive, without a softmax",
    **dict.fromkeys(["mlp_mixer", "sequencer"], "it mixes tokens without attention"),
    **dict.fromkeys(["mambaout"], "gated convolutions only"),
    **dict.fromkeys(
        [
            "ghostnet", "res2net", "resnest", "resnet", "senet", "sknet", "cspnet", "vovnet", "nfnet", "efficientnet",
            "hardcorenas", "rexnet", "regnet", "repghost", "lcnetv2",
        ],
        _GATES,
    ),
    **dict.fromkeys(
        [
            "convmixer", "convnext", "cspnext", "densenet", "dla", "dpn", "fasternet", "focalnet", "hgnet", "hrnet",
            "inception_next", "inception_resnet_v2", "inception_v3", "inception_v4", "nasnet", "pnasnet", "rdnet",
            "repvit", "resnetv2", "selecsls", "starnet", "tresnet", "vgg", "xception", "xception_aligned",
        ],
        _CONVOLUTIONS,
    ),
}  # fmt: skip
