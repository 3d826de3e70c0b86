"""Attention whose scores depend on the key alone, so that it can be run as a weighted mean that goes on and on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .mixer import Mixer, decoder_layers

PARTS = 3
"""Numbers that a score is handed over as, so that bfloat16 keeps it to 3e-7 of itself."""


@dataclass(frozen=True)
class KeyScores(Mixer):
    """Weights `exp(g_j) / sum_(j' <= i) exp(g_j')`, where `g_j = silu(q_j) . k_j` of the same place and head, without a scale.

    All queries share a profile over keys, and rotary embeddings change nothing, as they turn q_j and k_j alike. A norm of queries
    and keys that the model has comes before silu, where the paper's place for it is not established. Handed to the model's own
    attention as queries of ones and keys of scores, so that a lens hears it, no map is made, and a cache keeps scores. Source:
    arXiv 2510.11602, section 3 (non-approximate).
    """

    place: str | Sequence[int] = "uniform"

    def put_at(self, model: nn.Module, chosen: tuple[int, ...]) -> None:
        for layer in chosen:
            block = decoder_layers(model)[layer]
            block.self_attn = KeyScoreAttention(block.self_attn)

    def take(self, model: nn.Module) -> None:
        for block in decoder_layers(model):
            if isinstance(block.self_attn, KeyScoreAttention):
                block.self_attn = block.self_attn.before[0]


class KeyScoreAttention(nn.Module):
    """The module of `KeyScores`, with the projections of the attention that it replaces."""

    mixes = True

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.before = [attention]  # in a list, so that it is no child: its projections are this module's, too
        self.config, self.layer_idx, self.head_dim = attention.config, attention.layer_idx, attention.head_dim
        if self.head_dim < PARTS:
            raise ValueError(f"heads of {self.head_dim} dimensions have no room for a score in {PARTS} parts")
        self.heads = attention.q_proj.out_features // self.head_dim
        self.is_causal, self.num_key_value_groups = True, 1
        for name, child in attention.named_children():
            self.add_module(name, child)

    def scores(self, hidden: Tensor) -> Tensor:
        """Return the scores of keys, [batch, head, token] in float32 or better."""
        q, k = (self._heads(name, hidden) for name in ("q", "k"))
        kind = torch.promote_types(q.dtype, torch.float32)
        return (nn.functional.silu(q.to(kind)) * k.to(kind)).sum(-1)

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, past_key_values: Any = None, **given: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Attend, as an attention module of transformers does."""
        from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

        v = self._heads("v", hidden_states)
        left, k = self.scores(hidden_states), torch.zeros_like(v)
        for part in range(PARTS):
            k[..., part] = left.to(v.dtype)
            left = left - k[..., part].to(left.dtype)
        q = torch.zeros_like(v)
        q[..., :PARTS] = 1.0
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        for name in ("position_embeddings", "position_ids", "use_cache"):
            given.pop(name, None)
        out, weights = attend(self, q, k, v, attention_mask, scaling=1.0, dropout=0.0, **given)
        project: Any = self.o_proj
        return project(out.reshape(*hidden_states.shape[:-1], -1)), weights

    def _heads(self, name: str, hidden: Tensor) -> Tensor:
        """Return queries, keys or values, [batch, head, token, dim], keys and values once for each query head."""
        made = getattr(self, f"{name}_proj")(hidden).unflatten(-1, (-1, self.head_dim))
        norm = getattr(self, f"{name}_norm", None)
        made = (made if norm is None else norm(made)).transpose(1, 2)
        return made.repeat_interleave(self.heads // made.shape[1], 1)


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **given: Any,
) -> tuple[Tensor, Tensor]:
    """Attend with a map, as the files of transformers' models do for their implementation "eager"; the mask is added."""
    scores = scaling * query @ key.transpose(-1, -2)
    if attention_mask is not None:
        scores = scores + attention_mask[..., : key.shape[2]]
    weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), weights
