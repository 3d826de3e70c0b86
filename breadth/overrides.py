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
    "clip": "CLIPModel",
    "dpr": "DPRContextEncoder",
    "edgetam_video": "EdgeTamVideoModel",
    "embedding_gemma2": "EmbeddingGemma2Model",
    "flava": "FlavaModel",
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
    "pp_ocrv6_tiny_rec": "PPOCRV6TinyRecForTextRecognition",
    "qwen2_5_omni": "Qwen2_5OmniThinkerForConditionalGeneration",
    "qwen3_omni_moe": "Qwen3OmniMoeThinkerForConditionalGeneration",
    "rag": "RagTokenForGeneration",
    "sam": "SamModel",
    "sam2": "Sam2Model",
    "sam2_video": "Sam2VideoModel",
    "sam3_tracker": "Sam3TrackerModel",
    "sam3": "Sam3Model",
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
    "vibevoice_acoustic_tokenizer": "VibeVoiceAcousticTokenizerModel",
    "videoprism": "VideoPrismClipModel",
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
_MEMORY = {"image_size": 64, "memory_attention_rope_feat_sizes": [4, 4], "memory_fuser_layer_scale_init_value": 0.5}

OVERRIDES: dict[str, dict[str, Any]] = {
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
    "sam2_video": _HIERA | _MEMORY,
    "edgetam_video": _HIERA
    | _MEMORY
    | {
        "memory_attention_rope_k_sizes": [2, 2],
        "perceiver_resampler_num_latents": 4,
        "perceiver_resampler_num_latents_2d": 4,
    },
    "sam3_tracker": _SAM3,
    "sam3_tracker_video": _SAM3 | _MEMORY,
    "x_clip": {"vision_config": {"num_frames": 2}},
    "vjepa2": {"crop_size": 32, "frames_per_clip": 4},
    "vitpose": {"backbone_config": {"out_features": ["stage2"], "out_indices": None, "image_size": [32, 32]}},
    "efficientloftr": {
        "hidden_size": 32,
        "out_features": [8, 8, 16, 32],
        "stage_num_blocks": [1, 1, 1, 1],
        "num_attention_heads": 1,
    },
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
    "pp_doclayout_v2": _THREE | {"class_thresholds": [0.5, 0.5], "class_order": [0, 1]},
    "zoedepth": {
        "backbone_config": _FOUR,
        "neck_hidden_sizes": [16, 16, 16, 16],
        "fusion_hidden_size": 16,
        "bottleneck_features": 16,
        "backbone_hidden_size": 32,
    },
    "tvp": {"max_img_size": 32, "visual_prompt_size": 4},
    "muse_spark": {
        "vision_config": {"num_hidden_layers": 4, "layer_types": ["window_attention"] * 3 + ["full_attention"]},
        "audio_config": {"num_hidden_layers": 4},
    },
    "granite4_vision": {"deepstack_layer_map": [[-1, 0]], "qformer_config": {"num_attention_heads": 4}},
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
    "nemotron3_diarization": {"num_key_value_heads": 4},
    "unlimited_ocr": {"text_config": {"num_key_value_heads": 4}},
    "youtu": {"num_key_value_heads": 4},
    "qwen2_5_omni": {"vision_config": {"window_size": 32}},
    "hyperclovax_vision_v2": {"vision_config": {"window_size": 32}},
    "exaone4_5": {"vision_config": {"window_size": 32}},
    "qwen2_5_vl": {"vision_config": {"window_size": 32}},
    "patchtsmixer": {"self_attn": True},
    "clap": {"audio_config": {"spec_size": 64, "num_mel_bins": 64}},
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
    "zamba": {"layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"], "num_hidden_layers": 4},
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
    "informer": _SERIES,
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
