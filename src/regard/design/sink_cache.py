"""A key-value cache that keeps the first tokens and the last ones: generation without end in constant memory."""

import inspect
import sys
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer


class KeepSinkCache(DynamicCache):
    """A cache of transformers in which each token sees the first `sinks` tokens and the last `window` ones, itself included.

    Give it as `past_key_values` to a model or to `generate`. A pass of several tokens, as over a prompt, sees itself whole; texts
    of a batch have one length. A window as long as the text changes nothing; `sinks=0` is a plain window. With `renumber`,
    positions count what is kept, so that they stay within those of training: keys are rotated again, and the model is called
    token by token without position ids, not by `generate`, which numbers them by itself. Layers that have a window of their own
    keep it. Source: arXiv 2309.17453, section 3.2. Raises ValueError for other numbers than 0 or more sinks and a window of 1 or
    more, for a model without full attention, and with `renumber` for one whose rotary embedding is not known.
    """

    def __init__(self, model: Any, sinks: int = 4, window: int = 1020, *, renumber: bool = False) -> None:
        if sinks < 0 or window < 1:
            raise ValueError(f"a cache keeps 0 or more sinks and a window of 1 or more, not {sinks} and {window}")
        super().__init__(config=model.config)
        rotation = _Rotation(model) if renumber else None
        full = [place for place, layer in enumerate(self.layers) if type(layer) is DynamicLayer]
        if not full or (renumber and len(full) < len(self.layers)):
            raise ValueError(
                f"{type(model).__name__} has {len(full)} layers of full attention among {len(self.layers)}: "
                "this cache cuts those, and renumbers where there are no others"
            )
        for place in full:
            self.layers[place] = _Layer(sinks, window, rotation)


class _Layer(DynamicLayer):
    """The keys and values of one layer; `cumulative_length` counts the tokens that came by."""

    is_croppable = False

    def __init__(self, sinks: int, window: int, rotation: "_Rotation | None") -> None:
        super().__init__()
        self.sinks, self.window, self.rotation = sinks, window, rotation
        self.cumulative_length = 0
        self.rotated_to = torch.empty(0, dtype=torch.long)  # the positions that the model rotated the kept keys to

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Take in new keys and values, return all that these tokens see, and keep what the next one will."""
        before = self._kept
        keys, values = super().update(key_states, value_states)
        seen = keys if self.rotation is None else self._renumbered(before, self.rotation)
        self.cumulative_length += key_states.shape[-2]
        surplus = keys.shape[-2] - (self.sinks + self.window - 1)  # the next token is the last of its window
        if surplus > 0:
            first, last = slice(0, self.sinks), slice(self.sinks + surplus, None)
            self.keys = torch.cat([keys[..., first, :], keys[..., last, :]], -2)
            self.values = torch.cat([values[..., first, :], values[..., last, :]], -2)
            self.rotated_to = torch.cat([self.rotated_to[first], self.rotated_to[last]])
        return seen, values

    def _renumbered(self, before: int, rotation: "_Rotation") -> Tensor:
        """Return the keys at the positions that they have now, of which the first `before` were there already.

        The keys themselves stay as they came, so that each is rotated once and rounding does not add up from token to token.
        """
        at = torch.arange(self._kept, device=self.keys.device)
        self.rotated_to = torch.cat([self.rotated_to[:before].to(at.device), at[before:]])
        old, new = self.keys[..., :before, :], self.keys[..., before:, :]
        return torch.cat([rotation(old, (at - self.rotated_to)[:before]), new], -2)

    def get_seq_length(self) -> int:
        """The position of the next token."""
        return self._kept if self.rotation is not None else self.cumulative_length

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many keys there will be, and the position that the mask takes the first of them for."""
        return self._kept + query_length, self.get_seq_length() - self._kept

    @property
    def _kept(self) -> int:
        return 0 if self.keys is None or self.keys.numel() == 0 else self.keys.shape[-2]


class _Rotation:
    """Rotates keys on by some positions, as the model itself would."""

    def __init__(self, model: nn.Module) -> None:
        rotary = [module for path, module in model.named_modules() if path.rpartition(".")[2] == "rotary_emb"]
        apply = None
        if len(rotary) == 1:
            apply = getattr(sys.modules[type(rotary[0]).__module__], "apply_rotary_pos_emb", None)
        kind = getattr(rotary[0], "rope_type", None) if rotary else None
        if (
            apply is None
            or kind not in ("default", "linear")
            or len(inspect.signature(rotary[0].forward).parameters) > 2
        ):
            raise ValueError(
                f"{type(model).__name__} has no rotary embedding that keys can be rotated by again: it is of {kind or 'no'} type"
            )
        self.rotary, self.apply = rotary[0], apply

    def __call__(self, keys: Tensor, by: Tensor) -> Tensor:
        """Return keys [batch, kv_head, key, dim] rotated on by so many positions each, `by` [key], in float32 or better."""
        if not keys.shape[-2]:
            return keys
        exact = keys.to(torch.promote_types(keys.dtype, torch.float32))
        cos, sin = (turn.to(keys.device) for turn in self.rotary(exact, by[None]))  # a hook may put them elsewhere
        rotated: Tensor = self.apply(exact, exact, cos, sin)[1]
        return (rotated / getattr(self.rotary, "attention_scaling", 1.0)).to(keys.dtype)
