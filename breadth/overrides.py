"""What single families of transformers need beside the rules of `shrink.py`, as plain data."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Small:
    """A small configuration of another kind, by its model type."""

    kind: str
    overrides: dict[str, Any] = field(default_factory=dict)


CLASSES = {
    "align": "AlignModel",
    "altclip": "AltCLIPModel",
    "chinese_clip": "ChineseCLIPModel",
    "clap": "ClapAudioModelWithProjection",
    "clip": "CLIPModel",
    "dpr": "DPRContextEncoder",
    "edgetam": "EdgeTamModel",
    "edgetam_video": "EdgeTamVideoModel",
    "embedding_gemma2": "EmbeddingGemma2Model",
    "flava": "FlavaModel",
    "gemma3n": "Gemma3nForCausalLM",
    "groupvit": "GroupViTModel",
    "idefics": "IdeficsForVisionText2Text",
    "layoutlmv3": "LayoutLMv3Model",
    "metaclip_2": "MetaClip2Model",
    "mimi": "MimiModel",
    "nemotron3_diarization": "Nemotron3DiarizationForAudioFrameClassification",
    "nemotron_asr_streaming": "NemotronAsrStreamingForRNNT",
    "pocket_tts_audio_tokenizer": "PocketTTSAudioTokenizerModel",
    "pp_ocrv5_mobile_rec": "PPOCRV5MobileRecForTextRecognition",
    "pp_ocrv5_server_rec": "PPOCRV5ServerRecForTextRecognition",
    "pp_ocrv6_small_rec": "PPOCRV6SmallRecForTextRecognition",
    "qwen2_5_omni": "Qwen2_5OmniThinkerForConditionalGeneration",
    "qwen3_omni_moe": "Qwen3OmniMoeThinkerForConditionalGeneration",
    "rag": "RagTokenForGeneration",
    "sam": "SamModel",
    "sam2": "Sam2Model",
    "sam2_video": "Sam2VideoModel",
    "sam3": "Sam3Model",
    "sam3_tracker": "Sam3TrackerModel",
    "sam3_lite_text": "Sam3LiteTextModel",
    "sam_hq": "SamHQModel",
    "sapiens2": "Sapiens2ForSemanticSegmentation",
    "seamless_m4t": "SeamlessM4TForTextToText",
    "seamless_m4t_v2": "SeamlessM4Tv2ForTextToText",
    "siglip": "SiglipModel",
    "siglip2": "Siglip2Model",
    "slanet": "SLANetForTableRecognition",
    "slanext": "SLANeXtForTableRecognition",
    "speecht5": "SpeechT5ForSpeechToText",
    "tipsv2": "Tipsv2Model",
    "videoprism": "VideoPrismClipModel",
    "vitpose": "VitPoseForPoseEstimation",
    "vitpose_backbone": "VitPoseBackbone",
    "vits": "VitsModel",
    "x_clip": "XCLIPModel",
}
"""The class that stands for a family, where its name does not end with the one that people load it with."""

_RESNET = Small(
    "resnet", {"embedding_size": 16, "hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1], "out_indices": [4]}
)
_STAGES = Small(
    "resnet", {"embedding_size": 16, "hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1], "out_indices": [2, 3, 4]}
)
_DETR = {"use_timm_backbone": False, "backbone": None, "use_pretrained_backbone": False, "backbone_config": _RESNET}
_D = {"image_size": 32, "patch_size": 8}
_STEM = ["stage1", "stage2", "stage3", "stage4"]
_FOUR = {"num_hidden_layers": 4, "out_indices": None, "out_features": _STEM}
_SERIES = {
    "prediction_length": 4, "context_length": 8, "lags_sequence": [1, 2], "num_time_features": 2, "input_size": 1,
}  # fmt: skip
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_THREE = {"backbone_config": _STAGES, "encoder_in_channels": [16, 32, 32], "decoder_in_channels": [32, 32, 32]}

_TIMM = {
    "architecture": "vit_tiny_patch16_224",
    "model_args": {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4},
}
_TIMM_PE = _TIMM | {"architecture": "vit_pe_core_tiny_patch16_384"}
_PINPOINTS = [[32, 64], [64, 32]]
_ALL_STAGES = Small("resnet", _STAGES.overrides | {"out_indices": [1, 2, 3, 4]})
_SWIN = {"image_size": 64, "window_size": 2, "depths": [2, 1, 1, 1]}
_SAM = {"vision_config": {"output_channels": 32, "num_pos_feats": 16, "window_size": 2, "global_attn_indexes": [1]}}
_HIERA = {
    "vision_config": {
        "backbone_config": {
            "embed_dim_per_stage": [16, 32, 64, 128],
            "num_attention_heads_per_stage": [1, 2, 4, 4],
            "blocks_per_stage": [1, 1, 2, 1],
            "window_size_per_stage": [4, 2, 2, 2],
            "global_attention_blocks": [3],
            "hidden_size": 16,
            "image_size": [64, 64],
        },
        "backbone_channel_list": [128, 64, 32, 16],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    },
    "prompt_encoder_config": {"image_size": 64, "patch_size": 16},
}
_SAM3 = {
    "vision_config": {
        "backbone_config": {"image_size": 64, "patch_size": 16, "window_size": 2, "global_attn_indexes": [1]},
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    },
    "prompt_encoder_config": {"image_size": 64, "patch_size": 16},
}
_MEMORY_WIDTH = 128  # what is kept in memory has half of it, and 64 is written into the library's code
_MEMORY = {
    "image_size": 64,
    "memory_attention_rope_feat_sizes": [4, 4],
    "memory_attention_hidden_size": _MEMORY_WIDTH,
    "memory_encoder_hidden_size": _MEMORY_WIDTH,
    "memory_encoder_output_channels": _MEMORY_WIDTH // 2,
    "memory_fuser_layer_scale_init_value": 0.5,
    "memory_fuser_embed_dim": _MEMORY_WIDTH,
    "mask_downsampler_embed_dim": _MEMORY_WIDTH,
    "mask_decoder_config": {"hidden_size": _MEMORY_WIDTH},
    "prompt_encoder_config": {"image_size": 64, "patch_size": 16, "hidden_size": _MEMORY_WIDTH},
}


def _remembering(images: dict[str, Any]) -> dict[str, Any]:
    """Give a model of images what one of videos has beside."""
    return {"vision_config": images["vision_config"] | {"fpn_hidden_size": _MEMORY_WIDTH}} | _MEMORY


OVERRIDES: dict[str, dict[str, Any]] = {
    "llava_next": {"image_grid_pinpoints": _PINPOINTS},
    "llava_next_video": {"image_grid_pinpoints": _PINPOINTS},
    "llava_onevision": {"image_grid_pinpoints": _PINPOINTS},
    "vipllava": {"vision_feature_layers": [-1, -2]},
    "mistral3": {"vision_config": {"head_dim": 8}},
    "aria": {"projector_patch_to_query_dict": {16: 4}},
    "llama4": {
        "vision_config": {
            "intermediate_size": 128,
            "projector_input_dim": 32,
            "projector_output_dim": 32,
            "vision_output_dim": 32,
        }
    },
    "clap": {"spec_size": 256, "num_mel_bins": 64, "hidden_size": 256},
    "informer": _SERIES | {"distil": False},
    "timm_wrapper": _TIMM,
    "timm_backbone": {"backbone": "test_vit"},
    "omdet_turbo": {
        "backbone_config": {"backbone": "swin_tiny_patch4_window7_224", "img_size": 64, "out_indices": [1, 2, 3]},
        "image_size": 64,
        "text_config": {"hidden_size": 48},
        "text_projection_in_dim": 48,
        "class_embed_dim": 48,
        "text_projection_out_dim": 48,
        "d_model": 32,
        "vision_features_channels": [32, 32, 32],
        "encoder_dim_feedforward": 48,
        "decoder_dim_feedforward": 48,
    },
    "perception_lm": {"vision_config": _TIMM_PE},
    "pe_video": {"video_config": {"vision_config": _TIMM_PE}},
    "pe_audio_video": {
        "audio_video_config": {
            "video_config": {"vision_config": _TIMM_PE},
            "audio_config": {"dac_config": {"downsampling_ratios": [4, 8], "encoder_hidden_size": 8}},
        }
    },
    "edgetam": {
        "vision_config": {
            "backbone_config": {"architecture": "repvit_m1"},
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        "prompt_encoder_config": {"image_size": 64, "patch_size": 16},
    },
    "zamba": {
        "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
        "num_hidden_layers": 4,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
    },
    "upernet": {
        "backbone_config": Small("swin", {"out_features": _STEM, "out_indices": None}),
        "auxiliary_in_channels": 128,
    },
    "hrm_text": {
        "num_layers_per_stack": None,
        "num_hidden_layers": 2,
        "H_cycles": 1,
        "L_cycles": 1,
        "layer_types": None,
    },
    "audioflamingo3": {"audio_config": {"intermediate_size": 128}},
    "musicflamingo": {"audio_config": {"intermediate_size": 128}},
    "voxtral": {"audio_config": {"intermediate_size": 128}},
    "glmasr": {"audio_config": {"intermediate_size": 128}},
    "sam3_video": {
        "detector_config": {
            "vision_config": _remembering(_SAM3)["vision_config"],
            "geometry_encoder_config": {"hidden_size": _MEMORY_WIDTH, "num_layers": 1},
            "detr_encoder_config": {"hidden_size": _MEMORY_WIDTH, "num_layers": 1},
            "detr_decoder_config": {"hidden_size": _MEMORY_WIDTH, "num_layers": 1, "num_queries": 2},
            "mask_decoder_config": {"hidden_size": _MEMORY_WIDTH},
        },
        "tracker_config": _remembering(_SAM3)
        | {
            "mask_decoder_config": {"hidden_size": _MEMORY_WIDTH, "num_hidden_layers": 1},
            "memory_attention_num_layers": 1,
        },
        "low_res_mask_size": 16,
        "score_threshold_detection": 0.0,
        "new_det_thresh": 0.0,
        "hotstart_delay": 0,
    },
    "efficientloftr": {
        "hidden_size": 32,
        "out_features": [8, 8, 16, 32],
        "stage_num_blocks": [1, 1, 1, 1],
        "rope_parameters": _ROPE | {"partial_rotary_factor": 2.0},
        "fine_matching_slice_dim": 2,
        "coarse_matching_threshold": 0.0,
        "coarse_matching_border_removal": 0,
    },
    "musicgen_melody": {"chroma_length": 8},
    "nemotron3_diarization": {"audio_config": {"num_key_value_heads": 4}, "encoder_config": {"num_key_value_heads": 4}},
    "qwen3_omni_moe": {"vision_start_token_id": 140, "audio_start_token_id": 141},
    "qwen2_5_omni": {"vision_config": {"window_size": 32}, "vision_start_token_id": 140, "audio_start_token_id": 141},
    "align": {"vision_config": {"width_coefficient": 0.1, "depth_coefficient": 1.0}},
    "pp_ocrv5_mobile_rec": {
        "head_out_channels": 40,
        "backbone_config": {
            "block_configs": [[[3, 16, 16, stride, False]] for stride in (1, 2, 1, 2, 2)],
            "conv_symmetric_num": 1,
        },
    },
    "oneformer": {"conv_dim": 32, "mask_dim": 32, "hidden_dim": 32, "text_encoder_width": 32},
    "seggpt": {"image_size": [64, 32], "intermediate_hidden_state_indices": [0, 1], "merge_index": 0},
    "granite_speech5": {"encoder_config": {"context_size": 8, "num_key_value_heads": 4}},
    "xcodec2": {"quantization_dim": 64, "num_key_value_heads": 4},
    "neucodec": {"quantization_dim": 64, "num_key_value_heads": 4},
    "lw_detr": {
        "backbone_config": {
            "num_hidden_layers": 4,
            "num_windows": 4,
            "out_indices": None,
            "out_features": ["stage2", "stage4"],
            "window_block_indices": [0, 1],
        },
        "projector_scale_factors": [2.0, 0.5],
    },
    "sam": _SAM,
    "sam_hq": _SAM | {"mask_decoder_config": {"vit_dim": 32}},
    "sam2": _HIERA,
    "sam2_video": _remembering(_HIERA),
    "edgetam_video": _remembering(_HIERA)
    | {
        "memory_attention_rope_k_sizes": [2, 2],
        "perceiver_resampler_num_latents": 4,
        "perceiver_resampler_num_latents_2d": 4,
        "perceiver_resampler_hidden_size": _MEMORY_WIDTH // 2,
        "perceiver_resampler_attention_head_dim": _MEMORY_WIDTH // 2,
    },
    "sam3_tracker": _SAM3,
    "sam3_tracker_video": _remembering(_SAM3),
    "x_clip": {"vision_config": {"num_frames": 2}},
    "vjepa2": {"crop_size": 32, "frames_per_clip": 4},
    "vitpose": {"backbone_config": {"out_features": ["stage2"], "out_indices": None, "image_size": [32, 32]}},
    "clipseg": {"extract_layers": [0, 1]},
    "vitmatte": {
        "backbone_config": {"out_features": ["stage2"], "out_indices": None, "patch_size": 16},
        "convstream_hidden_sizes": [8, 8, 8],
        "fusion_hidden_sizes": [16, 16, 16, 16],
    },
    "superglue": {"hidden_size": 256, "keypoint_encoder_sizes": [32, 64], "gnn_layers_types": ["self", "cross"]},
    "clvp": {"text_config": {"hidden_size": 128}, "speech_config": {"hidden_size": 128}},
    "swin": _SWIN,
    "donut": _SWIN,
    "sapiens2": {
        "num_key_value_heads": 4,
        "head_config": {"upsample_out_channels": [16], "conv_out_channels": [16]},
    },
    "slanext": _SAM,
    "pp_formulanet": _SAM,
    "perceiver": {
        "d_model": 32,
        "d_latents": 32,
        "num_latents": 6,
        "num_blocks": 1,
        "num_self_attends_per_block": 2,
        "num_self_attention_heads": 4,
        "num_cross_attention_heads": 4,
    },
    "vits": {
        "upsample_rates": [2, 2],
        "upsample_kernel_sizes": [4, 4],
        "upsample_initial_channel": 16,
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3]],
        "posterior_encoder_num_wavenet_layers": 2,
        "prior_encoder_num_wavenet_layers": 2,
        "prior_encoder_num_flows": 1,
    },
    "pp_doclayout_v2": _THREE
    | {
        "class_thresholds": [0.5, 0.5],
        "class_order": [0, 1],
        "reading_order_config": {"max_2d_position_embeddings": 1024},
    },
    "zoedepth": {
        "backbone_config": _FOUR,
        "neck_hidden_sizes": [16, 16, 16, 16],
        "fusion_hidden_size": 16,
        "bottleneck_features": 16,
        "backbone_hidden_size": 32,
    },
    "tvp": {"max_img_size": 64, "visual_prompt_size": 4, "num_frames": 3},
    "muse_spark": {
        "vision_config": {"num_hidden_layers": 4, "layer_types": ["window_attention"] * 3 + ["full_attention"]},
        "audio_config": {"num_hidden_layers": 4},
    },
    "granite4_vision": {
        "vision_config": {"hidden_size": 64},  # its projector has a head for every 64
        "deepstack_layer_map": [[-1, 0]],
        "spatial_target_layers": [1],
        "downsample_rate": "1/2",
        "image_grid_pinpoints": _PINPOINTS,
    },
    "kosmos2": {"latent_query_num": 4},
    "dots3_note": {
        "text_config": {"num_key_value_heads": 4},
        "vision_config": {"adapter_in_dim": 32},
        "audio_config": {"adapter_input_size": 32},
    },
    "depth_pro": {
        "image_size": 128,
        "patch_size": 32,
        "intermediate_hook_ids": [1, 0],
        "intermediate_feature_dims": [32, 32],
        "scaled_images_feature_dims": [32, 32, 32],
        "image_model_config": _D,
        "patch_model_config": _D,
        "fov_model_config": _D,
    },
    "deepseek_ocr2": {
        "text_config": {"mlp_layer_types": ["dense", "sparse"], "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1}
    },
    "dbrx": {"attn_config": {"rope_theta": 10000.0, "kv_n_heads": 2, "clip_qkv": 8.0}},
    "blt": {"encoder_config": {"hidden_size_global": 32}, "decoder_config": {"hidden_size_global": 32}},
    "unlimited_ocr": {"text_config": {"num_key_value_heads": 4}},
    "youtu": {"num_key_value_heads": 4},
    "hyperclovax_vision_v2": {"vision_config": {"window_size": 32}},
    "exaone4_5": {"vision_config": {"window_size": 32}},
    "qwen2_5_vl": {"vision_config": {"window_size": 32}},
    "patchtsmixer": {"self_attn": True},
    "shieldgemma2": {"no_token_index": 11, "yes_token_index": 12},
    "fun_asr_nano": {"adaptor_config": {"intermediate_size": 8}},
    "ernie4_5_vl_moe": {"text_config": {"rope_parameters": _ROPE | {"mrope_section": [1, 1, 2]}}},
    "emu3": {
        "vocabulary_map": {"<image>": 150, "<|extra_200|>": 151}
        | {f"<|visual token {n:06d}|>": 100 + n for n in range(8)}
    },
    "diffusion_gemma": {"text_config": {"num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 16}},
    "neomme": {
        "rope_parameters": {"full_attention": _ROPE | {"partial_rotary_factor": 0.5}, "sliding_attention": _ROPE}
    },
    "rf_detr": {"backbone_config": {"num_hidden_layers": 4, "out_indices": None, "out_features": ["stage2", "stage4"]}},
    "hiera": {
        "image_size": [32, 32],
        "masked_unit_size": [4, 4],
        "decoder_hidden_size": 32,
        "decoder_depth": 2,
        "decoder_num_heads": 4,
        "num_query_pool": 2,
        "depths": [1, 1, 1],
        "num_heads": [1, 2, 4],
        "masked_unit_attention": [True, False, False],
        "patch_padding": [3, 3],
        "embed_dim": 16,
    },
    "glm5_next": {"text_config": {"num_key_value_heads": 4, "index_kpool": 2}},
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "gemma4_assistant": {"backbone_hidden_size": 32},
    "gemma3n": {"num_kv_shared_layers": 0},
    "qwen4_exp": {
        "text_config": {
            "indexer_n_heads": 2,
            "indexer_kv_heads": 1,
            "indexer_head_dim": 16,
            "indexer_budget": 8,
            "indexer_compress_ratio": 2,
        }
    },
    "wav2vec2_conformer": {"vocab_size": 160},
    "wav2vec2_bert": {"vocab_size": 160},
    "step3p7": {"text_config": {"sliding_window": 4}},
    "moonshine_streaming": {"num_key_value_heads": 4},
    "moonshine": {"encoder_num_key_value_heads": 4, "decoder_num_key_value_heads": 4},
    "longcat_flash": {"head_dim": 4, "qk_head_dim": 8},
    "lilt": {"hidden_size": 48},
    "led": {"attention_window": [4, 4]},
    "bamba": {"attn_layer_indices": [1]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "paddleocr_vl": {"text_config": {"rope_parameters": _ROPE | {"mrope_section": [2, 1, 1]}}},
    "glm4v_moe": {
        "text_config": {"rope_parameters": _ROPE | {"mrope_section": [2, 1, 1], "partial_rotary_factor": 1.0}}
    },
    "dpt": {"num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3]},
    "deepseek_v2": {"num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "rt_detr_v2": _THREE,
    "rt_detr": _THREE,
    "pp_doclayout_v4": _THREE,
    "pp_doclayout_v3": _THREE | {"backbone_config": _ALL_STAGES, "x4_feat_dim": 16},
    "deimv2": _THREE,
    "d_fine": _THREE,
    "bros": {"hidden_size": 128},
    "instructblipvideo": {"video_token_index": 150},
    "instructblip": {"image_token_index": 150},
    "blip_2": {"image_token_index": 150},
    "autoformer": _SERIES | {"label_length": 4, "moving_average": 3},
    "bridgetower": {
        "hidden_size": 128,
        "text_config": {"hidden_size": 128},
        "vision_config": {"hidden_size": 128},
    },
    "chameleon": {
        "vocabulary_map": {"<image>": 150} | {f"IMGIMG{letter}Z": 100 + n for n, letter in enumerate("ABCDEFGH")}
    },
    "chmv2": {"backbone_config": _FOUR},
    "conditional_detr": _DETR,
    "dab_detr": _DETR,
    "deformable_detr": _DETR | {"backbone_config": _STAGES, "num_feature_levels": 4},
    "depth_anything": {"backbone_config": _FOUR},
    "detr": _DETR,
    "esm": {"vocab_size": 33, "pad_token_id": 1, "mask_token_id": 32},
    "esmc": {"num_key_value_heads": 4},
    "falcon_h1": {"mamba_d_ssm": 64},
    "gpt_neo": {
        "attention_types": [[["global", "local"], 1]],
        "num_layers": 2,
        "attention_layers": ["global", "local"],
        "window_size": 4,
    },
    "gradium_phonon_tts": {"flow_head_config": {"condition_dim": 32}},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "hunyuan_vl": {"text_config": {"head_dim": 8}},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "ministral": {"head_dim": 8},
    "mobilevit": {"hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 8, 16, 16, 24, 32, 64]},
    "molmo2": {"adapter_config": {"vision_feature_layer": [-1, -2]}},
    "nemotron": {"num_key_value_heads": 2, "head_dim": 8},
    "pocket_tts": {"flow_head_config": {"condition_dim": 32}},
    "prompt_depth_anything": {"backbone_config": _FOUR},
    "reformer": {"axial_pos_embds_dim": [16, 16], "axial_pos_shape": [8, 8]},
    "table_transformer": _DETR,
    "time_series_transformer": _SERIES,
    "tipsv2_dpt": {"backbone_config": _FOUR},
}
"""Fields of a family's configuration, those of configurations inside it as dictionaries of their own."""
