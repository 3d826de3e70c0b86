"""How the model classes of diffusers are made small and what they are given, as plain data.

An argument of a constructor takes its small value by its name, from `SMALL`, unless a class's own case says otherwise.
Among the inputs a tuple is the shape of noise; lists and dictionaries hold inputs. Texts have five tokens, images and
videos other numbers, batches two examples and attention four heads, so that no axis can be taken for another.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Ids:
    """Random whole numbers from 0 to below `below`."""

    shape: tuple[int, ...]
    below: int


@dataclass(frozen=True)
class Full:
    """A tensor full of one number; whole, real or true as the number is."""

    shape: tuple[int, ...]
    value: float = 1


@dataclass(frozen=True)
class Values:
    """A tensor with these values, whole, real or true as they are."""

    values: Any


@dataclass(frozen=True)
class As:
    """Something that is given as it is."""

    value: Any


@dataclass(frozen=True)
class Case:
    """What a class is made with, and what it is given."""

    config: dict[str, Any] = field(default_factory=dict)
    x: dict[str, Any] = field(default_factory=dict)


TIMES = Values([3.0, 7.0])
STEPS = Values([3, 7])
TEXT = (2, 5, 24)
POOLED = (2, 20)
PACKED = (2, 12, 4)
"""Twelve latent tokens, of an image of three by four."""
IMAGE = (2, 4, 4, 6)
VIDEO = (2, 4, 3, 4, 6)
MASK = Full((2, 5))
IDS = {"img_ids": Ids((12, 3), 5), "txt_ids": Full((5, 3), 0)}
GRID = As([[(1, 3, 4)], [(1, 3, 4)]])

SMALL: dict[str, Any] = {
    "num_attention_heads": 4, "attention_head_dim": 16, "num_heads": 4, "n_heads": 4, "n_kv_heads": 2,
    "num_key_value_heads": 2, "head_dim": 16, "num_layers": 2, "num_single_layers": 2, "num_refiner_layers": 2,
    "num_hidden_layers": 2, "num_mmdit_layers": 2, "num_single_dit_layers": 2, "n_layers": 2, "n_refiner_layers": 2,
    "depth": 2, "num_text_blocks": 2, "num_visual_blocks": 2, "hidden_size": 64, "dim": 64, "model_dim": 64,
    "embed_dim": 64, "intermediate_size": 48, "ffn_dim": 48, "ff_dim": 48, "ffn_hidden_size": 48, "mlp_ratio": 2.0,
    "in_channels": 4, "out_channels": 4, "sample_size": 8, "sample_width": 6, "sample_height": 4, "sample_frames": 3,
    "cross_attention_dim": 24, "joint_attention_dim": 24, "text_dim": 24, "text_embed_dim": 24, "text_in_dim": 24,
    "caption_channels": 24, "cap_feat_dim": 24, "context_in_dim": 24, "encoder_hidden_size": 24, "text_hidden_dim": 24,
    "in_text_dim": 24, "in_text_dim2": 20, "pooled_projection_dim": 20, "freq_dim": 16, "time_embed_dim": 32,
    "time_dim": 32, "axes_dims_rope": (4, 6, 6), "axes_dim_rope": (4, 6, 6), "axes_dims": (4, 6, 6),
    "rope_axes_dim": (4, 6, 6), "num_cross_attention_heads": 4, "cross_attention_head_dim": 16, "norm_num_groups": 4,
    "adaln_lora_dim": 8, "num_kv_heads": 2, "multiple_of": 8, "vocab_size": 64, "dropout": 0.0, "layers_per_block": 1,
    "block_out_channels": (16, 32, 32, 32),
}  # fmt: skip
"""By name; tuples are cut to the length of the default."""

FLUX = {"hidden_states": PACKED, "encoder_hidden_states": TEXT, "timestep": Values([0.3, 0.7]), **IDS}
WAN = {"hidden_states": VIDEO, "timestep": STEPS, "encoder_hidden_states": TEXT}
UNET = {"sample": (2, 4, 8, 16), "timestep": 3, "encoder_hidden_states": TEXT}
COGVIEW = {"original_size": Full((2, 2), 32.0), "target_size": Full((2, 2), 32.0), "crop_coords": Full((2, 2), 0.0)}
VAE_IMAGE = {"sample": (2, 3, 16, 32)}
VAE_VIDEO = {"sample": (2, 3, 5, 16, 32)}

TRANSFORMERS: dict[str, Case] = {
    "AceStepTransformer1DModel": Case(
        {"in_channels": 18, "audio_acoustic_hidden_dim": 6, "encoder_hidden_size": 24, "sliding_window": 2},
        {
            "hidden_states": (2, 12, 6), "timestep": TIMES, "timestep_r": TIMES, "encoder_hidden_states": TEXT,
            "context_latents": (2, 12, 12),
        },
    ),
    "AllegroTransformer3DModel": Case(
        {"cross_attention_dim": 64, "attention_head_dim": 16},
        {
            "hidden_states": VIDEO, "encoder_hidden_states": (2, 1, 5, 24), "timestep": STEPS,
            "attention_mask": Full((2, 3, 4, 6), 1.0), "encoder_attention_mask": Full((2, 1, 5), 1.0),
        },
    ),
    "AnyFlowTransformer3DModel": Case(
        {},
        WAN | {
            "hidden_states": (2, 3, 4, 4, 6), "timestep": Values([[3] * 3, [7] * 3]),
            "r_timestep": Values([[1] * 3, [2] * 3]),
        },
    ),
    "AnyFlowFARTransformer3DModel": Case(
        {"chunk_partition": (1, 2), "full_chunk_limit": 2},
        {
            "hidden_states": (2, 3, 4, 4, 8), "timestep": Values([[3, 3, 3], [7, 7, 7]]),
            "r_timestep": Values([[1, 1, 1], [2, 2, 2]]), "encoder_hidden_states": TEXT, "chunk_partition": As([1, 2]),
            "clean_hidden_states": (2, 3, 4, 4, 8), "clean_timestep": Values([[0, 0, 0], [0, 0, 0]]),
        },
    ),
    "AuraFlowTransformer2DModel": Case(
        {"caption_projection_dim": 64, "pos_embed_max_size": 64},
        {"hidden_states": IMAGE, "encoder_hidden_states": TEXT, "timestep": Values([0.3, 0.7])},
    ),
    "BriaTransformer2DModel": Case({}, FLUX | {"pooled_projections": POOLED}),
    "BriaFiboTransformer2DModel": Case({"text_encoder_dim": 16}, FLUX | {"text_encoder_layers": [(2, 5, 16)] * 4}),
    "BriaFibo2Transformer2DModel": Case(
        {
            "injection_layer_ids": (0,), "perceiver_num_layers": 1, "min_num_gist_tokens": 2, "max_num_gist_tokens": 4,
            "gist_step": 1, "gist_min_text_len": 2, "gist_max_text_len": 8, "axes_lens": (64, 32, 32),
        },
        {
            "hidden_states": IMAGE, "timestep": Values([0.3, 0.7]), "encoder_hidden_states": (2, 2, 5, 24),
            "encoder_attention_mask": Full((2, 5), True),
        },
    ),
    "ChromaTransformer2DModel": Case(
        {"approximator_num_channels": 8, "approximator_hidden_dim": 16, "approximator_layers": 1}, FLUX,
    ),
    "ChronoEditTransformer3DModel": Case({}, WAN),
    "CogVideoXTransformer3DModel": Case(
        {"max_text_seq_length": 5},
        {"hidden_states": (2, 3, 4, 4, 6), "encoder_hidden_states": TEXT, "timestep": STEPS},
    ),
    "CogView3PlusTransformer2DModel": Case(
        {"condition_dim": 8, "pos_embed_max_size": 16},
        {"hidden_states": IMAGE, "encoder_hidden_states": TEXT, "timestep": STEPS} | COGVIEW,
    ),
    "CogView4Transformer2DModel": Case(
        {"condition_dim": 8, "pos_embed_max_size": 16, "rope_axes_dim": (16, 16)},
        {"hidden_states": IMAGE, "encoder_hidden_states": TEXT, "timestep": STEPS} | COGVIEW,
    ),
    "ConsisIDTransformer3DModel": Case(
        {
            "max_text_seq_length": 5, "is_train_face": True, "cross_attn_dim_head": 8, "cross_attn_num_heads": 4,
            "LFE_id_dim": 12, "LFE_vit_dim": 14, "LFE_depth": 5, "LFE_dim_head": 8, "LFE_num_heads": 4,
            "LFE_num_id_token": 3, "LFE_num_querie": 6, "LFE_output_dim": 42, "LFE_ff_mult": 2,
        },
        {
            "hidden_states": (2, 3, 4, 4, 6), "encoder_hidden_states": TEXT, "timestep": STEPS, "id_cond": (2, 12),
            "id_vit_hidden": [(2, 7, 14)] * 5,
        },
    ),
    "CosmosTransformer3DModel": Case({"max_size": (4, 8, 8), "concat_padding_mask": False}, WAN | {"fps": 24}),
    "Cosmos3OmniTransformer": Case(
        {"latent_channel": 4, "patch_latent_dim": 16, "dtype": "float32", "rope_axes_dim": (4, 2, 2)},
        {
            "input_ids": Ids((5,), 64), "text_indexes": Values([0, 1, 2, 3, 4]),
            "position_ids": Values([[*range(11)]] * 3), "und_len": 5, "sequence_length": 11,
            "vision_tokens": [(1, 4, 1, 4, 6)], "vision_token_shapes": As([(1, 2, 3)]),
            "vision_sequence_indexes": Values([*range(5, 11)]), "vision_mse_loss_indexes": Values([*range(5, 11)]),
            "vision_timesteps": Full((6,), 3.0), "vision_noisy_frame_indexes": [Values([0])],
        },
    ),
    "DiTTransformer2DModel": Case(
        {"num_embeds_ada_norm": 10}, {"hidden_states": (2, 4, 8, 8), "timestep": STEPS, "class_labels": Values([1, 2])},
    ),
    "DreamLiteTransformer2DModel": Case(
        {"in_channels": 16}, {"hidden_states": (2, 16, 3, 4), "encoder_hidden_states": TEXT},
    ),
    "EasyAnimateTransformer3DModel": Case(
        {"in_channels": 4, "out_channels": 4, "patch_size": 2, "mmdit_layers": 1},
        {"hidden_states": VIDEO, "timestep": STEPS, "encoder_hidden_states": TEXT},
    ),
    "ErnieImageTransformer2DModel": Case(
        {}, {"hidden_states": (2, 4, 3, 4), "timestep": TIMES, "text_bth": TEXT, "text_lens": Values([5, 5])},
    ),
    "FluxTransformer2DModel": Case({}, FLUX | {"pooled_projections": POOLED}),
    "Flux2Transformer2DModel": Case(
        {"axes_dims_rope": (4, 4, 4, 4), "timestep_guidance_channels": 16},
        FLUX | {"img_ids": Ids((12, 4), 5), "txt_ids": Full((5, 4), 0), "guidance": Full((2,), 3.0)},
    ),
    "Flux3Transformer2DModel": Case(
        {"axes_dims_rope": (4, 4, 4, 4), "timestep_channels": 16, "cond_in_channels": 4},
        FLUX | {"img_ids": Ids((12, 4), 5), "txt_ids": Full((5, 4), 0)},
    ),
    "GlmImageTransformer2DModel": Case(
        {"condition_dim": 8, "prior_vq_quantizer_codebook_size": 32},
        {
            "hidden_states": IMAGE, "encoder_hidden_states": TEXT, "prior_token_id": Ids((2, 6), 32),
            "prior_token_drop": Full((2, 6), False), "timestep": STEPS, "target_size": Full((2, 2), 32.0),
            "crop_coords": Full((2, 2), 0.0),
        },
    ),
    "HeliosTransformer3DModel": Case(
        {"rope_dim": (4, 6, 6)}, {"hidden_states": (2, 4, 3, 4, 8), "timestep": STEPS, "encoder_hidden_states": TEXT},
    ),
    "HiDreamImageTransformer2DModel": Case(
        {
            "patch_size": 2, "caption_channels": [24, 28], "text_emb_dim": 20, "num_routed_experts": 2,
            "num_activated_experts": 1, "axes_dims_rope": (4, 6, 6), "max_resolution": (8, 12),
            "llama_layers": [0, 1, 2, 3],
        },
        {
            "hidden_states": IMAGE, "timesteps": STEPS, "encoder_hidden_states_t5": TEXT,
            "encoder_hidden_states_llama3": (4, 2, 7, 28), "pooled_embeds": POOLED,
        },
    ),
    "HunyuanDiT2DModel": Case(
        {
            "in_channels": 4, "patch_size": 2, "hidden_size": 64, "cross_attention_dim_t5": 32, "text_len": 5,
            "text_len_t5": 7,
        },
        {
            "hidden_states": (2, 4, 8, 8), "timestep": TIMES, "encoder_hidden_states": TEXT,
            "text_embedding_mask": MASK, "encoder_hidden_states_t5": (2, 7, 32), "text_embedding_mask_t5": Full((2, 7)),
            "image_meta_size": Full((2, 6), 16.0), "style": Values([0, 0]),
        },
    ),
    "HunyuanImageTransformer2DModel": Case(
        {"rope_axes_dim": (8, 8)},
        {"hidden_states": IMAGE, "timestep": TIMES, "encoder_hidden_states": TEXT, "encoder_attention_mask": MASK},
    ),
    "HunyuanVideoTransformer3DModel": Case(
        {}, WAN | {"encoder_attention_mask": MASK, "pooled_projections": POOLED, "guidance": Full((2,), 3.0)},
    ),
    "HunyuanVideo15Transformer3DModel": Case(
        {"text_embed_2_dim": 28, "image_embed_dim": 18, "target_size": 16},
        WAN | {
            "hidden_states": (2, 4, 2, 3, 4), "timestep": TIMES, "encoder_attention_mask": MASK,
            "encoder_hidden_states_2": (2, 3, 28), "encoder_attention_mask_2": Full((2, 3)), "image_embeds": (2, 4, 18),
        },
    ),
    "HunyuanVideoFramepackTransformer3DModel": Case(
        {"has_image_proj": True, "image_proj_dim": 18, "has_clean_x_embedder": True},
        {
            "hidden_states": VIDEO, "timestep": STEPS, "encoder_hidden_states": TEXT, "encoder_attention_mask": MASK,
            "pooled_projections": POOLED, "guidance": Full((2,), 3.0), "image_embeds": (2, 4, 18),
            "indices_latents": Values([2, 3, 4]), "latents_clean": (2, 4, 1, 4, 6),
            "indices_latents_clean": Values([0]), "latents_history_2x": (2, 4, 2, 4, 8),
            "indices_latents_history_2x": Values([1, 2]), "latents_history_4x": (2, 4, 4, 8, 8),
            "indices_latents_history_4x": Values([1, 2, 3, 4]),
        },
    ),
    "Ideogram4Transformer2DModel": Case(
        {"adaln_dim": 16, "llm_features_dim": 24, "mrope_section": (4, 2, 2)},
        {
            "hidden_states": (2, 17, 4), "timestep": Values([0.3, 0.7]), "encoder_hidden_states": (2, 17, 24),
            "position_ids": Ids((2, 17, 3), 9), "segment_ids": Values([[0] * 17] * 2),
            "indicator": Values([[3] * 5 + [2] * 12] * 2),
        },
    ),
    "JoyImageEditTransformer3DModel": Case(
        {"rope_dim_list": [4, 6, 6], "mlp_width_ratio": 2.0}, WAN | {"hidden_states": (2, 4, 2, 4, 6)},
    ),
    "JoyImageEditPlusTransformer3DModel": Case(
        {"rope_dim_list": [4, 6, 6], "mlp_width_ratio": 2.0},
        {
            "hidden_states": (2, 12, 4, 1, 2, 2), "timestep": STEPS, "encoder_hidden_states": TEXT,
            "encoder_hidden_states_mask": MASK, "shape_list": As([[(1, 2, 3), (1, 2, 3)]] * 2),
        },
    ),
    "Kandinsky5Transformer3DModel": Case(
        {"in_visual_dim": 4, "out_visual_dim": 4},
        {
            "hidden_states": (2, 3, 4, 6, 4), "encoder_hidden_states": TEXT, "timestep": TIMES,
            "pooled_projections": POOLED, "visual_rope_pos": [Values([0, 1, 2]), Values([0, 1]), Values([0, 1, 2])],
            "text_rope_pos": Values([0, 1, 2, 3, 4]),
        },
    ),
    "Kandinsky6Transformer3DModel": Case(
        {"in_visual_dim": 4, "out_visual_dim": 4, "in_audio_dim": 6, "out_audio_dim": 6},
        {
            "hidden_states": (2, 3, 4, 6, 9), "encoder_hidden_states": TEXT, "pooled_projections": POOLED,
            "timestep": TIMES, "audio_hidden_states": (2, 7, 6), "encoder_attention_mask": Full((2, 5), True),
        },
    ),
    "Kandinsky6SRTransformer3DModel": Case(
        {"in_visual_dim": 4, "out_visual_dim": 4}, {"hidden_states": (2, 2, 16, 24, 9), "timestep": TIMES},
    ),
    "Krea2Transformer2DModel": Case(
        {
            "timestep_embed_dim": 16, "num_text_layers": 2, "text_num_attention_heads": 2,
            "text_num_key_value_heads": 1, "text_intermediate_size": 32, "num_layerwise_text_blocks": 1,
            "num_refiner_text_blocks": 1,
        },
        {
            "hidden_states": PACKED, "encoder_hidden_states": (2, 5, 2, 24), "timestep": Values([0.3, 0.7]),
            "position_ids": Ids((17, 3), 9), "encoder_attention_mask": Full((2, 5), True),
        },
    ),
    "LatteTransformer3DModel": Case(
        {
            "in_channels": 4, "patch_size": 2, "num_embeds_ada_norm": 10, "norm_type": "ada_norm_single",
            "caption_channels": 24, "cross_attention_dim": 64, "norm_elementwise_affine": False, "video_length": 3,
            "attention_bias": True,
        },
        {"hidden_states": (2, 4, 3, 8, 8), "timestep": STEPS, "encoder_hidden_states": TEXT},
    ),
    "LongCatAudioDiTTransformer": Case(
        {"dit_dim": 64, "dit_depth": 2, "dit_heads": 4, "dit_text_dim": 24, "latent_dim": 6, "ff_mult": 2.0},
        {
            "hidden_states": (2, 12, 6), "encoder_hidden_states": TEXT, "encoder_attention_mask": Full((2, 5), True),
            "timestep": Values([0.3, 0.7]), "attention_mask": Full((2, 12), True), "latent_cond": (2, 12, 6),
        },
    ),
    "LongCatImageTransformer2DModel": Case({}, FLUX),
    "LTXVideoTransformer3DModel": Case(
        {"cross_attention_dim": 64},
        {
            "hidden_states": PACKED, "encoder_hidden_states": TEXT, "timestep": STEPS, "encoder_attention_mask": MASK,
            "num_frames": 1, "height": 3, "width": 4,
        },
    ),
    "LTX2VideoTransformer3DModel": Case(
        {
            "cross_attention_dim": 64, "audio_in_channels": 6, "audio_out_channels": 6, "audio_num_attention_heads": 4,
            "audio_attention_head_dim": 8, "audio_cross_attention_dim": 32, "caption_channels": 24,
            "rope_double_precision": False,
        },
        {
            "hidden_states": PACKED, "audio_hidden_states": (2, 7, 6), "encoder_hidden_states": TEXT,
            "audio_encoder_hidden_states": (2, 5, 24), "timestep": Values([[3.0] * 12, [7.0] * 12]),
            "audio_timestep": Values([[3.0] * 7, [7.0] * 7]), "encoder_attention_mask": MASK,
            "audio_encoder_attention_mask": MASK, "num_frames": 1, "height": 3, "width": 4, "audio_num_frames": 7,
        },
    ),
    "LuminaNextDiT2DModel": Case(
        {"num_kv_heads": 2},
        {
            "hidden_states": IMAGE, "timestep": Values([0.3, 0.7]), "encoder_hidden_states": TEXT,
            "cross_attention_kwargs": {}, "encoder_mask": Full((2, 5), True),
        },
    ),
    "Lumina2Transformer2DModel": Case(
        {"axes_lens": (32, 32, 32)},
        {
            "hidden_states": IMAGE, "timestep": Values([0.3, 0.7]), "encoder_hidden_states": TEXT,
            "encoder_attention_mask": Full((2, 5), True),
        },
    ),
    "MiniMaxH3Transformer3DModel": Case(
        {"audio_in_channels": 6, "time_embed_hidden_dim": 32, "rope_freq_dim": 2},
        {
            "hidden_states": (2, 6, 16), "audio_hidden_states": (2, 4, 6), "encoder_hidden_states": TEXT,
            "timestep": Values([3.0]), "timestep_indices": Values([0] * 15),
            "token_tags": Values([0] * 5 + [1] * 6 + [2] * 4), "position_ids": Ids((15, 3), 9),
            "text_indices": Values([*range(5)]), "video_indices": Values([*range(5, 11)]),
            "audio_indices": Values([*range(11, 15)]),
        },
    ),
    "MiniMaxMusic3RVQDepthDecoder": Case({"audio_vocab_size": 32, "num_codebooks": 3}, {"inputs_embeds": (2, 3, 64)}),
    "MiniMaxMusic3Transformer1DModel": Case(
        {"condition_dim": 24, "ff_inner_dim": 48, "rotary_dim": 8, "fourier_embedding_dim": 16},
        {"hidden_states": (2, 4, 12), "timestep": Values([0.3, 0.7]), "encoder_hidden_states": (2, 12, 24)},
    ),
    "MochiTransformer3DModel": Case(
        {"time_embed_dim": 32, "max_sequence_length": 5}, WAN | {"encoder_attention_mask": Full((2, 5), True)},
    ),
    "MotifVideoTransformer3DModel": Case(
        {"num_decoder_layers": 1, "image_embed_dim": 18, "num_layers": 2, "num_single_layers": 3},
        WAN | {"encoder_attention_mask": MASK, "image_embeds": (2, 4, 18)},
    ),
    "NucleusMoEImageTransformer2DModel": Case(
        {
            "patch_size": 1, "dense_moe_strategy": "leave_first_block_dense", "num_experts": 4,
            "moe_intermediate_dim": 16, "capacity_factors": 2.0,
        },
        {
            "hidden_states": PACKED, "img_shapes": GRID, "encoder_hidden_states": TEXT, "timestep": Values([0.3, 0.7]),
            "encoder_hidden_states_mask": Full((2, 5), True),
        },
    ),
    "OmniGenTransformer2DModel": Case(
        {
            "num_key_value_heads": 4, "pad_token_id": 0, "max_position_embeddings": 64,
            "original_max_position_embeddings": 64,
            "rope_scaling": {"short_factor": [1.0] * 8, "long_factor": [1.0] * 8}, "pos_embed_max_size": 16,
            "time_step_dim": 16,
        },
        {
            "hidden_states": IMAGE, "timestep": Values([0.3, 0.7]), "input_ids": Ids((2, 8), 64),
            "input_img_latents": [(1, 4, 2, 4)] * 2, "input_image_sizes": As({0: [[2, 4]], 1: [[3, 5]]}),
            "attention_mask": Full((2, 15, 15)), "position_ids": Values([[*range(15)]] * 2),
        },
    ),
    "OvisImageTransformer2DModel": Case({}, FLUX),
    "PixArtTransformer2DModel": Case(
        {
            "num_embeds_ada_norm": 10, "cross_attention_dim": 64, "caption_channels": 24, "out_channels": 8,
            "use_additional_conditions": False,
        },
        {
            "hidden_states": (2, 4, 8, 8), "encoder_hidden_states": TEXT, "timestep": STEPS,
            "encoder_attention_mask": MASK, "added_cond_kwargs": {"resolution": As(None), "aspect_ratio": As(None)},
        },
    ),
    "PriorTransformer": Case(
        {"embedding_dim": 24, "num_embeddings": 5},
        {"hidden_states": (2, 24), "timestep": STEPS, "proj_embedding": (2, 24), "encoder_hidden_states": TEXT},
    ),
    "PRXTransformer2DModel": Case(
        {"axes_dim": [8, 8]},
        {
            "hidden_states": IMAGE, "timestep": Values([0.3, 0.7]), "encoder_hidden_states": TEXT,
            "attention_mask": Full((2, 5), True),
        },
    ),
    "QwenImageTransformer2DModel": Case(
        {"patch_size": 1},
        {
            "hidden_states": PACKED, "encoder_hidden_states": TEXT, "encoder_hidden_states_mask": Full((2, 5), True),
            "timestep": Values([0.3, 0.7]), "img_shapes": GRID,
        },
    ),
    "QwenImage21Transformer2DModel": Case(
        {"mlp_ratio": 2},
        {
            "hidden_states": (2, 24, 4), "encoder_hidden_states": (2, 8, 24), "timestep": Values([0.3, 0.7]),
            "img_shapes": As([[(1, 2, 6), (1, 2, 6)]] * 2),
            "img_mask": Values([[False] * 3 + [True] * 3 + [False] * 2 + [True] * 3] * 2),
        },
    ),
    "RFD4ProteinaTransformer": Case(
        {
            "nlayers": 2, "token_dim": 64, "nheads": 4, "dim_cond": 16, "pair_repr_dim": 12, "latent_dim": 6,
            "token_type_emb_dim": 8, "cath_emb_dim": 8, "t_emb_dim": 16, "seq_sep_dim": 8, "tri_mult_c": 8,
            "feats_seq": ("xt_bb_ca", "xt_local_latents", "token_type"), "feats_cond_seq": ("time_emb_bb_ca",),
            "feats_pair_repr": ("xt_bb_ca_pair_dists",), "feats_pair_cond": ("time_emb_bb_ca",),
        },
        {
            "bb_ca": (2, 9, 3), "local_latents": (2, 9, 6), "bb_ca_time": Values([0.3, 0.7]),
            "local_latents_time": Values([0.3, 0.7]), "padding_mask": Full((2, 9), True), "token_type": Full((2, 9), 1),
            "atom37_mask": Full((2, 9, 37), True),
            "conditioning": {
                "is_in_context_conditioning": Full((2, 9), False), "supports_local_latent": Full((2, 9), True),
            },
        },
    ),
    "SanaTransformer2DModel": Case(
        {"cross_attention_dim": 64}, {"hidden_states": (2, 4, 8, 8), "encoder_hidden_states": TEXT, "timestep": STEPS},
    ),
    "SanaVideoTransformer3DModel": Case({"cross_attention_dim": 64}, WAN),
    "SanaWMTransformer3DModel": Case(
        {"linear_head_dim": 16, "softmax_every_n": 2, "chunk_plucker_channels": 6, "chunk_plucker_post_attn_blocks": 2},
        {
            "hidden_states": (2, 4, 3, 2, 4), "timestep": Values([[[3] * 3], [[7] * 3]]),
            "encoder_hidden_states": (2, 1, 5, 24), "mask": MASK,
        },
    ),
    "SanaWMLTX2RefinerTransformer3DModel": Case(
        {
            "cross_attention_dim": 64, "audio_in_channels": 6, "audio_out_channels": 6, "audio_num_attention_heads": 4,
            "audio_attention_head_dim": 8, "audio_cross_attention_dim": 32, "caption_channels": 24,
            "rope_double_precision": False,
        },
        {
            "hidden_states": PACKED, "encoder_hidden_states": TEXT, "timestep": Values([[3.0] * 12, [7.0] * 12]),
            "encoder_attention_mask": MASK,
        },
    ),
    "SD3Transformer2DModel": Case(
        {"caption_projection_dim": 64, "pos_embed_max_size": 8, "dual_attention_layers": (0,), "qk_norm": "rms_norm"},
        {"hidden_states": IMAGE, "encoder_hidden_states": TEXT, "pooled_projections": POOLED, "timestep": TIMES},
    ),
    "SkyReelsV2Transformer3DModel": Case({}, WAN),
    "StableAudioDiTModel": Case(
        {
            "num_key_value_attention_heads": 2, "time_proj_dim": 16, "global_states_input_dim": 18,
            "cross_attention_input_dim": 24, "cross_attention_dim": 32,
        },
        {
            "hidden_states": (2, 4, 12), "timestep": TIMES, "encoder_hidden_states": TEXT,
            "global_hidden_states": (2, 1, 18),
        },
    ),
    "StableAudio3DiTModel": Case(
        {
            "io_channels": 6, "cond_token_dim": 24, "global_cond_dim": 18, "local_add_cond_dim": 7,
            "timestep_features_dim": 16, "ff_mult": 2.0, "num_memory_tokens": 3,
        },
        {
            "hidden_states": (2, 6, 12), "timestep": Values([0.3, 0.7]), "encoder_hidden_states": TEXT,
            "global_hidden_states": (2, 18), "local_add_cond": (2, 7, 12),
        },
    ),
    "T5FilmDecoder": Case(
        {"input_dims": 6, "targets_length": 12, "d_model": 64, "d_kv": 16, "d_ff": 48},
        {"decoder_input_tokens": (2, 12, 6), "decoder_noise_time": Values([0.3, 0.7])},
    ),
    "Transformer2DModel": Case(
        {"in_channels": 16, "cross_attention_dim": 24}, {"hidden_states": (2, 16, 3, 4), "encoder_hidden_states": TEXT},
    ),
    "TransformerTemporalModel": Case({"in_channels": 16}, {"hidden_states": (6, 16, 3, 4), "num_frames": 3}),
    "WanTransformer3DModel": Case({}, WAN),
    "WanAnimateTransformer3DModel": Case(
        {
            "in_channels": 12, "latent_channels": 4, "image_dim": 18, "motion_encoder_size": 16, "motion_style_dim": 8,
            "motion_dim": 4, "motion_encoder_dim": 16, "motion_encoder_channel_sizes": {"4": 8, "8": 8, "16": 8},
            "face_encoder_hidden_dim": 16, "inject_face_latents_blocks": 2,
        },
        {
            "hidden_states": (2, 12, 3, 4, 6), "timestep": STEPS, "encoder_hidden_states": TEXT,
            "encoder_hidden_states_image": (2, 4, 18), "pose_hidden_states": (2, 4, 2, 4, 6),
            "face_pixel_values": (2, 3, 5, 16, 16),
        },
    ),
    "WanAnimate2Transformer3DModel": Case(
        {"text_len": 5, "in_dim": 8, "out_dim": 4},
        {
            "hidden_states": [(4, 3, 4, 6)] * 2, "timestep": STEPS, "encoder_hidden_states": [(5, 24)] * 2,
            "condition_latents": [(4, 3, 4, 6)] * 2, "kv_cache_mode": "extract", "seq_len": 18,
            "encoder_hidden_states_image": (2, 257, 1280), "offset_grid_sizes": Values([[3, 2, 3]] * 2),
        },
    ),
    "WanVACETransformer3DModel": Case(
        {"vace_layers": [0], "vace_in_channels": 6}, WAN | {"control_hidden_states": (2, 6, 3, 4, 6)},
    ),
    "ZImageTransformer2DModel": Case(
        {"axes_lens": [64, 32, 32]}, {"x": [(4, 1, 4, 6)] * 2, "t": Values([0.3, 0.7]), "cap_feats": [(5, 24)] * 2},
    ),
}  # fmt: skip

_BLOCKS_2 = {"block_out_channels": (16, 32)}
_CROSS = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    **_BLOCKS_2,
}  # fmt: skip
_CONTROL = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), **_BLOCKS_2,
    "conditioning_embedding_out_channels": (8, 16),
}  # fmt: skip
_MOTION = {"motion_num_attention_heads": 4, "motion_max_seq_length": 8}
HEADS = {"attention_head_dim": 4}
"""In the first UNets this argument was the number of heads."""

UNETS: dict[str, Case] = {
    "UNet1DModel": Case(
        {
            "in_channels": 4, "out_channels": 4, "extra_in_channels": 64, "block_out_channels": (32, 32, 64),
            "norm_num_groups": 8,
        },
        {"sample": (2, 4, 32), "timestep": 3},
    ),
    "UNet2DModel": Case(
        {
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
            **_BLOCKS_2, "attention_head_dim": 8,
        },
        {"sample": (2, 4, 8, 16), "timestep": 3},
    ),
    "UNet2DConditionModel": Case(_CROSS | HEADS, UNET),
    "UNet3DConditionModel": Case(
        {
            "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
            "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"), **_BLOCKS_2,
        } | HEADS,
        UNET | {"sample": (2, 4, 3, 8, 16)},
    ),
    "DreamLiteUNetModel": Case({"num_kv_heads": 1, "ff_mult": 2, "block_out_channels": (16, 32, 64)}, UNET),
    "I2VGenXLUNet": Case(
        {
            "down_block_types": ("CrossAttnDownBlock3D", "DownBlock3D"),
            "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D"), **_BLOCKS_2, "num_attention_heads": 4,
        },
        {
            "sample": (2, 4, 3, 8, 16), "timestep": 3, "fps": Values([8, 8]), "image_latents": (2, 4, 3, 8, 16),
            "image_embeddings": (2, 24), "encoder_hidden_states": TEXT,
        },
    ),
    "Kandinsky3UNet": Case(
        {
            "groups": 4, "time_embedding_dim": 32, "attention_head_dim": 8, "block_out_channels": (16, 32, 64, 128),
            "encoder_hid_dim": 28, "cross_attention_dim": 24, "layers_per_block": 3,
        },
        {"sample": (2, 4, 8, 16), "timestep": 3, "encoder_hidden_states": (2, 5, 28), "encoder_attention_mask": MASK},
    ),
    "UNetMotionModel": Case(
        {
            "down_block_types": ("CrossAttnDownBlockMotion", "DownBlockMotion"),
            "up_block_types": ("UpBlockMotion", "CrossAttnUpBlockMotion"), **_BLOCKS_2,
        } | _MOTION,
        UNET | {"sample": (2, 4, 3, 8, 16), "encoder_hidden_states": (6, 5, 24)},
    ),
    "UNetSpatioTemporalConditionModel": Case(
        {
            "down_block_types": ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            "up_block_types": ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            "block_out_channels": (32, 64), "num_attention_heads": 4, "addition_time_embed_dim": 16,
            "projection_class_embeddings_input_dim": 48,
        },
        UNET | {"sample": (2, 3, 4, 8, 16), "added_time_ids": Full((2, 3), 3.0)},
    ),
    "StableCascadeUNet": Case(
        {
            "timestep_ratio_embedding_dim": 16, "conditioning_dim": 32, "block_out_channels": (32, 64),
            "num_attention_heads": (2, 4), "down_num_layers_per_block": (1, 1), "up_num_layers_per_block": (1, 1),
            "clip_text_in_channels": 24, "clip_text_pooled_in_channels": 20, "clip_image_in_channels": 18,
            "clip_seq": 2, "dropout": (0.0, 0.0),
        },
        {
            "sample": (2, 4, 4, 8), "timestep_ratio": Values([0.3, 0.7]), "clip_text_pooled": (2, 1, 20),
            "clip_text": TEXT, "clip_img": (2, 1, 18),
        },
    ),
    "UVit2DModel": Case(
        {
            "cond_embed_dim": 20, "micro_cond_encode_dim": 8, "micro_cond_embed_dim": 40, "codebook_size": 60,
            "block_out_channels": 64, "num_res_blocks": 1, "block_num_heads": 4, "in_channels": 64,
        },
        {
            "input_ids": Ids((2, 4, 6), 64), "encoder_hidden_states": TEXT, "pooled_text_emb": POOLED,
            "micro_conds": Full((2, 5), 3.0),
        },
    ),
}  # fmt: skip

_FLUX_CONTROL = FLUX | {"pooled_projections": POOLED, "controlnet_cond": PACKED}
CONTROLNETS: dict[str, Case] = {
    "ControlNetModel": Case(_CONTROL | HEADS, UNET | {"controlnet_cond": (2, 3, 16, 32)}),
    "ControlNetUnionModel": Case(
        _CONTROL | HEADS | {
            "num_control_type": 3, "num_trans_channel": 16, "num_trans_head": 4, "num_proj_channel": 16,
            "addition_embed_type_num_heads": 4, "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 68,
        },
        UNET | {
            "controlnet_cond": [(2, 3, 16, 32)], "control_type": Values([[0.0, 1.0, 0.0]] * 2),
            "control_type_idx": As([1]), "added_cond_kwargs": {"text_embeds": (2, 20), "time_ids": Full((2, 6), 3.0)},
        },
    ),
    "CosmosControlNetModel": Case(
        {
            "n_controlnet_blocks": 2, "in_channels": 10, "latent_channels": 6, "model_channels": 64,
            "max_size": (4, 8, 8),
        },
        {
            "controls_latents": (2, 4, 3, 4, 6), "latents": (2, 4, 3, 4, 6), "timestep": STEPS,
            "encoder_hidden_states": TEXT, "condition_mask": Full((2, 1, 3, 4, 6), 0.0),
            "padding_mask": Full((1, 1, 4, 6), 0.0),
        },
    ),
    "FluxControlNetModel": Case({}, _FLUX_CONTROL),
    "HunyuanDiT2DControlNetModel": Case(
        {
            "in_channels": 4, "patch_size": 2, "hidden_size": 64, "transformer_num_layers": 4,
            "cross_attention_dim_t5": 32, "text_len": 5, "text_len_t5": 7, "conditioning_channels": 4,
        },
        TRANSFORMERS["HunyuanDiT2DModel"].x | {"controlnet_cond": (2, 4, 8, 8)},
    ),
    "QwenImageControlNetModel": Case(
        {"patch_size": 1}, TRANSFORMERS["QwenImageTransformer2DModel"].x | {"controlnet_cond": PACKED},
    ),
    "SanaControlNetModel": Case(
        {"cross_attention_dim": 64}, TRANSFORMERS["SanaTransformer2DModel"].x | {"controlnet_cond": (2, 4, 8, 8)},
    ),
    "SD3ControlNetModel": Case(
        {"caption_projection_dim": 64, "pos_embed_max_size": 8},
        TRANSFORMERS["SD3Transformer2DModel"].x | {"controlnet_cond": IMAGE},
    ),
    "SparseControlNetModel": Case(
        {
            "down_block_types": ("CrossAttnDownBlockMotion", "DownBlockMotion"), **_BLOCKS_2,
            "conditioning_embedding_out_channels": (8, 16),
        } | HEADS | _MOTION,
        UNET | {
            "sample": (2, 4, 3, 8, 16), "encoder_hidden_states": (6, 5, 24), "controlnet_cond": (2, 4, 3, 8, 16),
            "conditioning_mask": Full((2, 1, 3, 8, 16), 1.0),
        },
    ),
    "UNetControlNetXSModel": Case(
        {
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), **_BLOCKS_2,
            "ctrl_conditioning_embedding_out_channels": (8, 16), "ctrl_block_out_channels": (4, 8),
            "ctrl_num_attention_heads": 2, "ctrl_max_norm_num_groups": 4,
        },
        UNET | {"controlnet_cond": (2, 3, 16, 32)},
    ),
    "ZImageControlNetModel": Case(
        {
            "control_layers_places": [0, 1], "control_refiner_layers_places": [0], "control_in_dim": 4,
            "add_control_noise_refiner": "control_noise_refiner",
        },
        {
            "x": [(4, 1, 4, 6)] * 2, "t": Values([0.3, 0.7]), "cap_feats": [(5, 24)] * 2,
            "control_context": [(4, 1, 4, 6)] * 2,
        },
    ),
}  # fmt: skip

_TWO = {"conditioning_scale": As([1.0, 0.7]), "return_dict": False}
CONTROLNETS |= {
    "FluxMultiControlNetModel": Case(
        {}, _FLUX_CONTROL | {"controlnet_cond": [PACKED] * 2, "controlnet_mode": [Values([0, 0])] * 2, **_TWO},
    ),
    "HunyuanDiT2DMultiControlNetModel": Case(
        {}, CONTROLNETS["HunyuanDiT2DControlNetModel"].x | {"controlnet_cond": [(2, 4, 8, 8)] * 2, **_TWO},
    ),
    "MultiControlNetModel": Case({}, UNET | {"controlnet_cond": [(2, 3, 16, 32)] * 2, **_TWO}),
    "MultiControlNetUnionModel": Case(
        {},
        CONTROLNETS["ControlNetUnionModel"].x | {
            "controlnet_cond": [[(2, 3, 16, 32)]] * 2, "control_type": [Values([[0.0, 1.0, 0.0]] * 2)] * 2,
            "control_type_idx": As([[1], [1]]), **_TWO,
        },
    ),
    "QwenImageMultiControlNetModel": Case(
        {}, CONTROLNETS["QwenImageControlNetModel"].x | {"controlnet_cond": [PACKED] * 2, **_TWO},
    ),
    "SD3MultiControlNetModel": Case(
        {}, CONTROLNETS["SD3ControlNetModel"].x | {"controlnet_cond": [IMAGE] * 2, **_TWO},
    ),
}  # fmt: skip

_DOWN_UP = {
    "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2, **_BLOCKS_2,
    "in_channels": 3, "out_channels": 3,
}  # fmt: skip
_WAN_VAE = {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 2, 2], "num_res_blocks": 1, "temperal_downsample": [False, True]}
_STATISTICS = {"latents_mean": (0.0,) * 4, "latents_std": (1.0,) * 4}
_HUNYUAN_VAE = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 8, "block_out_channels": (16, 32, 32),
    "spatial_compression_ratio": 4, "temporal_compression_ratio": 2,
}  # fmt: skip

AUTOENCODERS: dict[str, Case] = {
    "AsymmetricAutoencoderKL": Case(
        {
            "down_block_types": ("DownEncoderBlock2D",) * 2, "down_block_out_channels": (16, 32),
            "up_block_types": ("UpDecoderBlock2D",) * 2, "up_block_out_channels": (16, 32), "in_channels": 3,
            "out_channels": 3,
        },
        VAE_IMAGE | {"mask": Full((2, 1, 16, 32), 1.0)},
    ),
    "AutoencoderKL": Case(_DOWN_UP, VAE_IMAGE),
    "AutoencoderKLAllegro": Case(
        {"in_channels": 3, "out_channels": 3, "block_out_channels": (16, 32, 32, 32), "sample_size": 32},
        {"sample": (1, 3, 8, 32, 32)},
    ),
    "AutoencoderKLCosmos": Case(
        {
            "in_channels": 3, "out_channels": 3, "latent_channels": 4, "encoder_block_out_channels": (16, 32, 32),
            "decode_block_out_channels": (16, 32, 32, 32), "attention_resolutions": (8,), "resolution": 16,
            "num_layers": 1, "patch_size": 2, "spatial_compression_ratio": 4, "temporal_compression_ratio": 4,
        },
        VAE_VIDEO,
    ),
    "AutoencoderKLFlux2": Case(_DOWN_UP | {"latent_channels": 4}, VAE_IMAGE),
    "AutoencoderKLHunyuanVideo": Case(
        _HUNYUAN_VAE | {
            "block_out_channels": (16, 32, 32, 32), "spatial_compression_ratio": 8, "temporal_compression_ratio": 4,
        },
        VAE_VIDEO,
    ),
    "AutoencoderKLHunyuanImage": Case(
        {
            "in_channels": 3, "out_channels": 3, "latent_channels": 8, "block_out_channels": (32, 64),
            "layers_per_block": 1, "spatial_compression_ratio": 2, "sample_size": 16,
        },
        VAE_IMAGE,
    ),
    "AutoencoderKLHunyuanImageRefiner": Case(_HUNYUAN_VAE, VAE_VIDEO),
    "AutoencoderKLHunyuanVideo15": Case(_HUNYUAN_VAE, {"sample": (1, 3, 5, 16, 32)}),
    "AutoencoderKLKVAEAudio": Case(
        {
            "encoder_dim": 8, "encoder_rates": [2, 3], "latent_dim": 32, "codebook_dim": 8, "decoder_dim": 32,
            "decoder_rates": [3, 2], "attn_num_heads": 4,
        },
        {"sample": (2, 1, 72)},
    ),
    "AutoencoderKLLTX2Audio": Case(
        {
            "base_channels": 32, "ch_mult": (1, 2), "num_res_blocks": 1, "resolution": 16, "in_channels": 2,
            "output_channels": 2, "latent_channels": 4, "mid_block_add_attention": True, "mel_bins": 16,
            "norm_type": "group", "causality_axis": "none", "is_causal": False,
        },
        {"sample": (2, 2, 24, 16)},
    ),
    "AutoencoderKLMiniMaxH3": Case(
        {
            "in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": (16, 32, 32),
            "spatial_downsample_factors": (2, 2, 1), "temporal_downsample_factors": (1, 2, 1), "decoder_num_layers": 2,
            "decoder_num_attention_heads": 4, "decoder_attention_head_dim": 16, "decoder_ffn_mult": 2, "clip_length": 5,
            "token_drop": 1,
        } | _STATISTICS,
        {"sample": (2, 3, 9, 16, 32)},
    ),
    "AutoencoderKLMiniMaxH3Audio": Case(
        {
            "encoder_dim": 8, "encoder_rates": (2, 4), "latent_dim": 32, "latent_channels": 8, "decoder_dim": 32,
            "decoder_rates": (4, 2), "decoder_kernel_sizes": (8, 4),
        },
        {"sample": (2, 1, 96)},
    ),
    "AutoencoderKLMochi": Case(
        {
            "in_channels": 15, "out_channels": 3, "encoder_block_out_channels": (32, 32, 32, 32),
            "decoder_block_out_channels": (32, 32, 32, 32), "latent_channels": 4, "layers_per_block": (1, 1, 1, 1, 1),
            **_STATISTICS,
        },
        {"sample": (2, 3, 7, 16, 32)},
    ),
    "AutoencoderKLQwenImage": Case(_WAN_VAE | _STATISTICS, VAE_VIDEO),
    "AutoencoderKLQwenImage21": Case(
        _WAN_VAE | _STATISTICS | {
            "decoder_base_dim": 8, "in_channels": 3, "out_channels": 3, "scale_factor_temporal": 2,
            "scale_factor_spatial": 4,
        },
        {"sample": (2, 3, 1, 16, 32)},
    ),
    "AutoencoderKLTemporalDecoder": Case(
        {
            "down_block_types": ("DownEncoderBlock2D",) * 2, "block_out_channels": (32, 32), "in_channels": 3,
            "out_channels": 3,
        },
        {"sample": (6, 3, 16, 32), "num_frames": 3},
    ),
    "AutoencoderKLWan": Case(_WAN_VAE | _STATISTICS | {"in_channels": 3, "out_channels": 3}, VAE_VIDEO),
    "AutoencoderRAE": Case(
        {
            "encoder_hidden_size": 64, "encoder_num_hidden_layers": 2, "decoder_hidden_size": 32,
            "decoder_num_hidden_layers": 2, "decoder_num_attention_heads": 4, "decoder_intermediate_size": 48,
            "patch_size": 4, "encoder_patch_size": 4, "encoder_input_size": 16,
        },
        {"sample": (2, 3, 16, 16)},
    ),
    "AutoencoderSAME": Case(
        {
            "patch_size": 8, "encoder_channels": 16, "encoder_c_mults": (2,), "encoder_strides": (4,),
            "encoder_transformer_depths": (2,), "latent_dim": 12, "dim_heads": 8, "ff_mult": 2,
        },
        {"sample": (2, 2, 192)},
    ),
    "AutoencoderVidTok": Case(
        {"in_channels": 3, "out_channels": 3, "ch": 16, "ch_mult": [1, 2], "num_res_blocks": 1}, VAE_VIDEO,
    ),
    "ConsistencyDecoderVAE": Case(
        {
            "encoder_block_out_channels": (16, 32), "encoder_down_block_types": ("DownEncoderBlock2D",) * 2,
            "encoder_in_channels": 3, "encoder_layers_per_block": 1, "encoder_norm_num_groups": 4,
            "decoder_add_attention": True, "decoder_block_out_channels": (16, 32),
            "decoder_down_block_types": ("ResnetDownsampleBlock2D",) * 2, "decoder_layers_per_block": 1,
            "decoder_norm_num_groups": 4, "decoder_up_block_types": ("ResnetUpsampleBlock2D",) * 2,
        },
        VAE_IMAGE,
    ),
    "LTX2VideoDiffusionDecoderModel": Case(
        {
            "out_channels": 3, "latent_channels": 4, "patch_size": 2, "decoder_head_dim": 8,
            "decoder_stage_channels": (32, 16, 16, 16, 16), "decoder_stage_depths": (1, 1, 1, 1, 1),
            "decoder_stage_kernels": ((3, 1, 1), (3, 1, 1), (3, 1, 3), (3, 3, 3)), "decoder_stage5_kernel": (3, 3, 3),
            "decoder_t_emb_dim": 16,
            "decoder_upsample_channel_reductions": (2, 1, 1, 1),
        },
        {"z": (2, 4, 2, 1, 2)},
    ),
    "MMAudioVAE": Case(
        {"mel_bins": 16, "latent_channels": 4, "hidden_channels": 32, "channel_multipliers": (1, 2)},
        {"sample": (2, 2048)},
    ),
    "RFD4ProteinaAutoencoder": Case(
        {
            "atom37_mask": [[True] * 37] * 21, "allowed_residue_types": [[True] * 21] * 7, "latent_dim": 6,
            "n_residue_types": 21, "nlayers": 2, "token_dim": 64, "nheads": 4, "dim_cond": 16, "pair_repr_dim": 12,
            "token_type_emb_dim": 8, "decoder_feats_seq": ("ca_coors_nm", "z_latent_seq", "token_type"),
        },
        {
            "z_latent": (2, 9, 6), "ca_coors_nm": (2, 9, 3), "padding_mask": Full((2, 9), True),
            "token_type": Full((2, 9), 1), "atom37_mask": Full((2, 9, 37), True),
            "conditioning": {
                "is_in_context_conditioning": Full((2, 9), False), "supports_local_latent": Full((2, 9), True),
            },
        },
    ),
    "VQModel": Case(_DOWN_UP | {"latent_channels": 4, "num_vq_embeddings": 16}, VAE_IMAGE),
}  # fmt: skip

EMBEDDERS: dict[str, Case] = {
    "AnimaTextConditioner": Case(
        {"source_dim": 24, "target_dim": 28, "target_vocab_size": 64, "min_sequence_length": 8, "model_dim": 64},
        {"source_hidden_states": TEXT, "target_input_ids": Ids((2, 7), 64)},
    ),
}  # fmt: skip

NO_ATTENTION: dict[str, str] = {
    "AutoencoderDC": "its attention is linear, without a softmax",
    "ControlNetXSAdapter": "a box of blocks without a forward: they attend inside UNetControlNetXSModel",
    "MotionAdapter": "a box of blocks whose forward does nothing: they attend inside UNetMotionModel",
    "AutoencoderKLCogVideoX": "convolutions only",
    "AutoencoderKLKVAE": "convolutions only",
    "AutoencoderKLKVAEVideo": "convolutions only",
    "AutoencoderKLLTX2Video": "convolutions only",
    "AutoencoderKLLTXVideo": "convolutions only",
    "AutoencoderKLMagvit": "convolutions only",
    "AutoencoderOobleck": "convolutions only",
    "AutoencoderTiny": "convolutions only",
    "Cosmos3AVAEAudioTokenizer": "convolutions only",
    "Kandinsky6SRLatentUpscalerBank": "convolutions only",
    "Kandinsky6SRVAE": "convolutions only",
    "LongCatAudioDiTVae": "convolutions only",
    "MMAudioVocoder": "convolutions only",
    "MiniMaxMusic3ConditionEncoder": "its softmax weighs layers, not tokens",
    "MiniMaxMusic3Vocoder": "convolutions only",
    "MultiAdapter": "a list of adapters of convolutions",
    "T2IAdapter": "convolutions only",
}

CASES: dict[str, Case] = {**TRANSFORMERS, **UNETS, **CONTROLNETS, **AUTOENCODERS, **EMBEDDERS}
