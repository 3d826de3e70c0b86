"""Language models that attend through transformers' interface."""

from typing import Any

from torch import nn

from .case import Case, tokens

SMALL: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 128,
}  # fmt: skip
GROUPED: dict[str, Any] = {**SMALL, "num_key_value_heads": 2}


def _llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**{**GROUPED, "num_hidden_layers": 3}))


def _gpt2() -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=128))


def _gpt_neox() -> nn.Module:
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    return GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL))


def _mistral() -> nn.Module:
    from transformers import MistralConfig, MistralForCausalLM

    return MistralForCausalLM(MistralConfig(**GROUPED, sliding_window=4))


def _qwen3() -> nn.Module:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(**GROUPED, head_dim=8))


def _gemma2() -> nn.Module:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    return Gemma2ForCausalLM(
        Gemma2Config(**GROUPED, head_dim=8, sliding_window=4, attn_logit_softcapping=2.0, query_pre_attn_scalar=8)
    )


def _gemma3() -> nn.Module:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    kinds = ["sliding_attention", "full_attention"]
    return Gemma3ForCausalLM(Gemma3TextConfig(**GROUPED, head_dim=8, sliding_window=4, layer_types=kinds))


def _gpt_oss() -> nn.Module:
    from transformers import GptOssConfig, GptOssForCausalLM

    return GptOssForCausalLM(
        GptOssConfig(**GROUPED, head_dim=8, sliding_window=4, num_local_experts=2, num_experts_per_tok=1)
    )


def _deepseek() -> nn.Module:
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    return DeepseekV3ForCausalLM(
        DeepseekV3Config(
            **SMALL, num_key_value_heads=4, q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=8,
            v_head_dim=6, first_k_dense_replace=2, n_routed_experts=4, moe_intermediate_size=16,
        )
    )  # fmt: skip


LLAMA = Case("llama", _llama, tokens, {("main", "self"): 3})
GPT2 = Case("gpt2", _gpt2, lambda: tokens(left=False), projections=("c_proj",))
GPT_NEOX = Case("gpt_neox", _gpt_neox, tokens, projections=("dense",))
MISTRAL = Case("mistral", _mistral, tokens)
QWEN3 = Case("qwen3", _qwen3, tokens)
GEMMA2 = Case("gemma2", _gemma2, tokens)
GEMMA3 = Case("gemma3", _gemma3, tokens)
GPT_OSS = Case("gpt_oss", _gpt_oss, tokens)
DEEPSEEK = Case("deepseek_v3", _deepseek, tokens)
DECODERS = [LLAMA, GPT2, GPT_NEOX, MISTRAL, QWEN3, GEMMA2, GEMMA3, GPT_OSS, DEEPSEEK]
