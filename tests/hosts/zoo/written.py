"""Models that write their attention out: torch's fused function (Falcon), a softmax of their own, or torch's module."""

from typing import Any

import torch
from torch import nn

from .case import Case, noise, tokens
from .decoders import SMALL


def _falcon() -> nn.Module:
    from transformers import FalconConfig, FalconForCausalLM

    return FalconForCausalLM(
        FalconConfig(
            vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_kv_heads=2,
            new_decoder_architecture=True, alibi=False,
        )
    )  # fmt: skip


def _bloom() -> nn.Module:
    from transformers import BloomConfig, BloomForCausalLM

    return BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=4))


def _gptj() -> nn.Module:
    from transformers import GPTJConfig, GPTJForCausalLM

    return GPTJForCausalLM(GPTJConfig(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=128, rotary_dim=4))


def _gpt_neo() -> nn.Module:
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    return GPTNeoForCausalLM(
        GPTNeoConfig(
            vocab_size=64, hidden_size=32, num_layers=2, num_heads=4, window_size=4, max_position_embeddings=128,
            attention_types=[[["global", "local"], 1]],
        )
    )  # fmt: skip


def _deberta() -> nn.Module:
    from transformers import DebertaV2Config, DebertaV2Model

    return DebertaV2Model(DebertaV2Config(**SMALL, relative_attention=True, pos_att_type=["p2c", "c2p"]))


def _mpt() -> nn.Module:
    from transformers import MptConfig, MptForCausalLM

    return MptForCausalLM(MptConfig(vocab_size=64, d_model=32, n_layers=2, n_heads=4, max_seq_len=64))


def _xglm() -> nn.Module:
    from transformers import XGLMConfig, XGLMForCausalLM

    return XGLMForCausalLM(
        XGLMConfig(vocab_size=64, d_model=32, num_layers=2, attention_heads=4, ffn_dim=48, max_position_embeddings=128)
    )


class Encoder(nn.Module):
    """torch's encoder, as people use it."""

    def __init__(self, batch_first: bool, fast: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 48, batch_first=batch_first, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=fast)

    def forward(self, src: torch.Tensor, mask: Any = None, src_key_padding_mask: Any = None) -> tuple[torch.Tensor]:
        """Return the encoder's output."""
        return (self.encoder(src, mask=mask, src_key_padding_mask=src_key_padding_mask),)


def _padding() -> torch.Tensor:
    return tokens(length=7, left=False)["attention_mask"] == 0


FALCON = Case("falcon", _falcon, tokens, projections=("dense",), tier="sdpa")
BLOOM = Case("bloom", _bloom, tokens, projections=("dense",), tier="softmax")
GPTJ = Case("gptj", _gptj, tokens, projections=("out_proj",), tier="softmax")
GPT_NEO = Case("gpt_neo", _gpt_neo, tokens, projections=("out_proj",), tier="softmax")
DEBERTA = Case("deberta_v2", _deberta, lambda: tokens(left=False), projections=("../output/dense",), tier="softmax")
MPT = Case("mpt", _mpt, tokens, projections=("out_proj",), tier="softmax")
XGLM = Case("xglm", _xglm, tokens, projections=("out_proj",), tier="softmax")
TORCH = Case(
    "torch",
    lambda: Encoder(batch_first=True, fast=True),
    lambda: {"src": noise(3, 7, 32), "src_key_padding_mask": _padding()},
    projections=("out_proj",),
    tier="mha",
    scale=2.0,
)
TORCH_SEQUENCE_FIRST = Case(
    "torch_sequence_first",
    lambda: Encoder(batch_first=False, fast=False),
    lambda: {"src": noise(7, 3, 32), "mask": nn.Transformer.generate_square_subsequent_mask(7)},
    projections=("out_proj",),
    tier="mha",
    scale=2.0,
)
WRITTEN = [FALCON, BLOOM, GPTJ, GPT_NEO, DEBERTA, MPT, XGLM]
MODULES = [TORCH, TORCH_SEQUENCE_FIRST]
