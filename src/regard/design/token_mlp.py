"""No mixing at all: a gated feed-forward layer in the place of attention."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .attention import like_weights
from .mixer import Mixer, decoder_layers


@dataclass(frozen=True)
class TokenMLP(Mixer):
    """Each token by itself: `down(silu(gate(h)) * up(h))`, with as many parameters as the attention that it replaces.

    It begins at random. Source: arXiv 2510.11602, section 3 (MLP), whose hidden size is 4/3 of the width.
    """

    place: str | Sequence[int] = "uniform"

    def put_at(self, model: Any, chosen: tuple[int, ...]) -> None:
        blocks = [decoder_layers(model)[layer] for layer in chosen]
        likes = [like_weights(block.self_attn, model) for block in blocks]  # all before the model changes
        for block, like in zip(blocks, likes, strict=True):
            block.self_attn = _Tokens(block.self_attn, like, model.config.initializer_range)

    def take(self, model: nn.Module) -> None:
        for block in decoder_layers(model):
            if isinstance(block.self_attn, _Tokens):
                block.self_attn = block.self_attn.before[0]


class _Tokens(nn.Module):
    mixes = False

    def __init__(self, attention: Any, like: Tensor, std: float) -> None:
        super().__init__()
        self.before = [attention]  # in a list, so that it is no child and is neither trained nor saved
        self.layer_idx = attention.layer_idx
        width = attention.o_proj.out_features
        hidden = max(1, round(sum(p.numel() for p in attention.parameters()) / (3 * width)))
        made: dict[str, Any] = {"bias": False, "device": like.device, "dtype": like.dtype}
        self.gate, self.up = (nn.Linear(width, hidden, **made) for _ in range(2))
        self.down = nn.Linear(hidden, width, **made)
        for linear in (self.gate, self.up, self.down):
            nn.init.normal_(linear.weight, std=std)

    def forward(self, hidden_states: Tensor, past_key_values: Any = None, **given: Any) -> tuple[Tensor, None]:
        if past_key_values is not None:  # which counts its tokens by what layers put there
            nothing = hidden_states.new_zeros(hidden_states.shape[0], 1, hidden_states.shape[1], 1)
            past_key_values.update(nothing, nothing, self.layer_idx)
        return self.down(nn.functional.silu(self.gate(hidden_states)) * self.up(hidden_states)), None
