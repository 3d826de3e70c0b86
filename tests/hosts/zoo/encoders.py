"""Encoders, and pairs of an encoder and a decoder, that attend through transformers' interface."""

from typing import Any

import torch
from torch import nn

from .case import Case, noise, tokens
from .decoders import SMALL

PAIR = {("encoder", "self"): 2, ("decoder", "self"): 2, ("decoder", "cross"): 2}


def _bert() -> nn.Module:
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(**SMALL))


def _albert() -> nn.Module:
    from transformers import AlbertConfig, AlbertModel

    return AlbertModel(AlbertConfig(**SMALL, embedding_size=16))


def _modernbert() -> nn.Module:
    from transformers import ModernBertConfig, ModernBertModel

    return ModernBertModel(
        ModernBertConfig(
            **SMALL, local_attention=4, layer_types=["full_attention", "sliding_attention"],
            pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
        )
    )  # fmt: skip


def _vit() -> nn.Module:
    from transformers import ViTConfig, ViTModel

    return ViTModel(
        ViTConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=48,
            image_size=16,
            patch_size=4,
        )
    )


def _t5() -> nn.Module:
    from transformers import T5Config, T5ForConditionalGeneration

    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0,
            relative_attention_num_buckets=8,
        )
    )  # fmt: skip


def _bart() -> nn.Module:
    from transformers import BartConfig, BartForConditionalGeneration

    return BartForConditionalGeneration(
        BartConfig(
            vocab_size=64, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64,
            decoder_start_token_id=2, forced_eos_token_id=None,
        )
    )  # fmt: skip


def _whisper() -> nn.Module:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    return WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=64, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, num_mel_bins=8, max_source_positions=16,
            max_target_positions=32, decoder_start_token_id=2, pad_token_id=0, bos_token_id=1, eos_token_id=1,
            begin_suppress_tokens=None, suppress_tokens=None,
        )
    )  # fmt: skip


def _pair() -> dict[str, Any]:
    answer = tokens(length=7, left=False)
    return {
        **tokens(left=False),
        "decoder_input_ids": answer["input_ids"],
        "decoder_attention_mask": answer["attention_mask"],
    }


def _speech() -> dict[str, Any]:
    return {
        "input_features": noise(2, 8, 32),
        "decoder_input_ids": torch.randint(3, 60, (2, 6), generator=torch.Generator().manual_seed(4)),
    }


BERT = Case("bert", _bert, lambda: tokens(left=False), projections=("../output/dense",))
ALBERT = Case("albert", _albert, lambda: tokens(left=False), projections=("dense",))
MODERNBERT = Case("modernbert", _modernbert, lambda: tokens(left=False), projections=("Wo",))
VIT = Case("vit", _vit, lambda: {"pixel_values": noise(2, 3, 16, 16)})
T5 = Case("t5", _t5, _pair, PAIR, projections=("o",), scale=1.5)
BART = Case("bart", _bart, _pair, PAIR, projections=("out_proj",))
WHISPER = Case("whisper", _whisper, _speech, PAIR, projections=("out_proj",))
ENCODERS = [BERT, ALBERT, MODERNBERT, VIT]
PAIRS = [T5, BART, WHISPER]
