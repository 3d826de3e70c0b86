"""A small configuration of every kind: each field takes its small value by its name, sub-configurations alike.

Widths are all equal, so that parts fit that have to; what the rules do not name stays as it is.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from .overrides import Small

WIDTH = 32
HEADS = 4
HEAD = WIDTH // HEADS
INNER = 48
VOCABULARY = 160
POSITIONS = 64
IMAGE = 32
PATCH = 8

Rule = int | Callable[[Any], Any]


def _unit_list(values: Any) -> Any:
    return type(values)([1] * len(values))


def _scaled(start: int) -> Callable[[Any], Any]:
    """Shrink a list of widths so that its least is `start`, keeping their ratios."""

    def scale(values: Any) -> Any:
        least = min(values)
        return type(values)([max(start, round(value / least * start)) for value in values])

    return scale


def _kinds(values: Any) -> Any:
    """Keep one of each kind of layer, and two layers at least."""
    kept = list(dict.fromkeys(values))
    return kept if len(kept) > 1 else kept * 2


def _capped(most: int) -> Callable[[Any], Any]:
    return lambda value: min(value, most)


INTEGERS: list[tuple[str, Rule]] = [
    (r"vocab_size_per_layer_input|(\w+_)?vocab_size", _capped(VOCABULARY)),
    (r"hidden_size_per_layer_input", 8),
    (r"num_attention_heads_per_layer", HEADS),
    (r"index_n_heads|index_heads", 2),
    (r"index_head_dim", 16),
    (r"index_topk", 4),
    (r"(linear_)?num_(key_value|kv)_heads|\w+_num_key_value_heads|(n_)?kv_heads|num_kv_heads", _capped(2)),
    (r"linear_num_key_heads|linear_num_value_heads", 2),
    (r"linear_(key|value)_head_dim|linear_head_dim", HEAD),
    (r"mamba_n_heads|n_mamba_heads|mamba_num_heads|mamba_d_head|mamba_head_dim|mamba_d_state|ssm_state_size", 8),
    (r"qk_rope_head_dim", lambda d: min(d, 4)),
    (r"qk_nope_head_dim", 4),
    (r"qk_head_dim", HEAD),
    (r"kv_lora_rank|q_lora_rank|o_lora_rank", 16),
    (r"(\w+_)?head_dim|d_kv|d_head|dim_head|kv_channels|attention_head_dim|(\w+_)?dim_head|v_head_dim", HEAD),
    (r"(\w+_)?(num_)?attention_heads|num_heads|n_heads?|(\w+_)?n_heads|(\w+_)?num_heads|(\w+_)?heads", _capped(HEADS)),
    (
        r"(num_)?(\w+_)?(hidden_)?layers|n_layers?|num_layers|depth|\w+_depth|(\w+_)?num_hidden_layers|num_\w+_layers"
        r"|num_blocks|num_layers_per_stack",
        _capped(2),
    ),
    (r"(\w+_)?(intermediate|ffn|mlp|feedforward)_(size|dim|hidden_size)|d_ff|d_inner|n_inner|ffn_dim|mlp_dim", INNER),
    (r"dim_feedforward|encoder_feedforward_dim|\w+_linear_units|\w+_feed_forward_hidden_size", INNER),
    (r"(\w+_)?(hidden|embed|embedding|model|projection|conv|out)_(size|dim|width)|d_model|n_embd|emb_dim|dim", WIDTH),
    (r"embedding_size|projector_hidden_size|text_hidden_size|projection_dim|\w+_hidden_dim|pooler_\w+_size", WIDTH),
    (r"fpn_feature_size|mask_feature_size|\w+_output_channels|post_conv_\w+_channels|\w+_channels_out", WIDTH),
    (
        r"(\w+_)?(max|n)(_\w+)?_positions?(_embeddings)?|n_ctx|max_seq_len|max_length|model_max_length",
        _capped(POSITIONS),
    ),
    (r"num_experts_per_tok(en)?|moe_topk|moe_k|num_selected_experts|top_k_experts", _capped(2)),
    (r"num_(local_)?experts|n_routed_experts|moe_num_experts|num_local_experts", _capped(4)),
    (r"n_group|topk_group|num_expert_group", 1),
    (r"first_k_dense_replace|num_dense_layers", 1),
    (r"sliding_window(_size)?|attention_chunk_size|local_attention", _capped(4)),
    (r"full_attention_interval|sliding_window_pattern|attn_layer_period|global_attn_every_n_layers", 2),
    (r"attn_layer_offset", 1),
    (r"image_size|(vision_)?img_size|input_size|pretrain_image_size", _capped(IMAGE)),
    (r"patch_size", _capped(PATCH)),
    (r"num_queries|num_query_tokens|num_proposals|num_object_queries", _capped(6)),
    (r"num_denoising", 0),
    (r"rotary_dim", _capped(4)),
    (r"window_size", _capped(4)),
    (r"upsample_groups|quantizer_dim", WIDTH),
    (r"mm_tokens_per_image|image_seq_length", 4),
]
"""Rules for whole numbers, of which the first that fits a whole name is taken: a number, or what is made of the value."""

LISTS: list[tuple[str, Rule]] = [
    (r"layer_types|layers_block_type|mlp_layer_types|indexer_types|block_types", _kinds),
    (r"depths|layer_depths", _unit_list),
    (r"num_heads|num_attention_heads", _scaled(2)),
    (r"image_size|img_size", lambda v: type(v)([IMAGE] * len(v))),
    (r"hidden_sizes|encoder_hidden_sizes|embed_dims|neck_hidden_sizes", _scaled(16)),
]

FLOATS: dict[str, float] = {"layer_scale_init_value": 0.5, "layerscale_value": 0.5, "layer_scale_initial_scale": 0.5}

TOKEN = re.compile(r"token_(id|index)(_\d+)?$|^(image_patch|im_start|im_end|im_newline)_id$|stream_(bos|eos)_id$")
LAYERS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")


def shrink(
    kind: type[Any],
    overrides: dict[str, Any] | None = None,
    init: dict[str, Any] | None = None,
    tokens: dict[str, int] | None = None,
) -> Any:
    """Return a small configuration; overrides win, and those of sub-configurations are dictionaries of their own.

    `init` is what the configuration around it makes it with, and `tokens` the special tokens that have got a new id.
    """
    overrides, given = overrides or {}, init or {}
    tokens = {} if tokens is None else tokens
    default = kind(**given)
    known = {field.name for field in dataclasses.fields(kind)}
    values: dict[str, Any] = dict(given)
    for name, value in vars(default).items():
        if name not in known or name.startswith("_"):
            continue
        if hasattr(value, "sub_configs"):
            inner = overrides.get(name, {})
            small = shrink(type(value), inner, _init(kind, name), tokens) if isinstance(inner, dict) else None
        else:
            small = _token(name, value, tokens) if TOKEN.search(name) else _small(name, value)
        if small is not None:
            values[name] = small
    _agree(values, default)
    if "kv_lora_rank" in known and "num_key_value_heads" in values:  # keys are made for every head
        values["num_key_value_heads"] = HEADS
    if "mrope_section" in getattr(kind, "ignore_keys_at_rope_validation", ()):
        values["rope_parameters"] = _rope(values.get("rope_parameters") or {}, sections=True)
    for name, value in overrides.items():
        if not (isinstance(value, dict) and hasattr(values.get(name), "sub_configs")):
            values[name] = _made(value)
    return kind(**values)


def _made(value: Any) -> Any:
    from transformers import CONFIG_MAPPING

    return shrink(CONFIG_MAPPING[value.kind], value.overrides) if isinstance(value, Small) else value


def _init(kind: type[Any], name: str) -> dict[str, Any]:
    spec = getattr(kind, "sub_configs_defaults", {}).get(name)
    return dict(getattr(spec, "init_kwargs", None) or {})


def _token(name: str, value: Any, tokens: dict[str, int]) -> Any:
    """Return an id within the small vocabulary for a token's, the same wherever the name comes again."""
    if isinstance(value, list | tuple):
        return type(value)(_token(f"{name}{place}", one, tokens) for place, one in enumerate(value))
    if isinstance(value, bool) or not isinstance(value, int) or value < VOCABULARY // 2:
        return None if not isinstance(value, int) else value
    return tokens.setdefault(name, VOCABULARY - 1 - len(tokens))


def _small(name: str, value: Any) -> Any:
    """Return the small value of a field; None where no rule names it."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return _ruled(INTEGERS, name, value)
    if isinstance(value, float):
        if FLOATS.get(name) is not None and value > 0:
            return FLOATS[name]
        return 0.0 if re.search("drop|layerdrop", name) else None
    if isinstance(value, list | tuple) and value:
        return _ruled(LISTS, name, value)
    if name == "rope_parameters" and isinstance(value, dict):
        return _rope(value)
    return None


def _ruled(rules: list[tuple[str, Rule]], name: str, value: Any) -> Any:
    for pattern, rule in rules:
        if re.fullmatch(pattern, name):
            return rule(value) if callable(rule) else rule if value > 0 else value
    return None


def _rope(value: dict[str, Any], sections: bool = False) -> dict[str, Any]:
    """Return rope parameters whose sections of three axes fit into a small head."""
    if any(isinstance(inner, dict) for inner in value.values()):
        return {name: _rope(inner, sections) if isinstance(inner, dict) else inner for name, inner in value.items()}
    small = {"rope_type": "default", "rope_theta": 10000.0} | value
    return small | {"mrope_section": [2, 1, 1]} if sections or "mrope_section" in value else small


def _agree(values: dict[str, Any], default: Any) -> None:
    """Give lists that have an entry per layer as many as there are layers."""
    lists = [
        name for name in ("layer_types", "layers_block_type", "mlp_layer_types", "indexer_types") if name in values
    ]
    if not lists:
        return
    longest = max(len(values[name]) for name in lists)
    for name in lists:
        values[name] = (values[name] * longest)[:longest]
    for layers in LAYERS:
        if layers in values:
            values[layers] = longest
