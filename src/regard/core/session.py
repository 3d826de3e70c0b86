"""What lives as long as one run of a model: a forward pass, or a generation with its cache."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .call import Call


class Segments(Protocol):
    """Named sets of the keys of a call."""

    def keys(self, name: str, call: "Call") -> Tensor:
        """Return which keys of the call are in the segment, [batch, key] bool; raises KeyError with the names there are."""


@dataclass(eq=False)
class Session:
    """State of one run, on no module and no class, so that two runs never meet.

    `step` counts the forward passes before this one, `seen` the tokens of those passes that still count, `prompt` those of the
    prompt, padding included. `ids` [batch, token] are the token ids so far and `valid` [batch, token] is False for padding, each
    None if the model was given none.
    """

    step: int = 0
    seen: int = 0
    prompt: int = 0
    ids: Tensor | None = None
    valid: Tensor | None = None
    segments: Segments | None = None
    states: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)

    def state(self, *key: Any) -> dict[str, Any]:
        """Return what an edit keeps for one site in this run, empty at first; its tensors are [batch, ...]."""
        return self.states.setdefault(key, {})

    def reorder(self, rows: Tensor) -> None:
        """Take these rows of the batch, as a beam search or a selection of its cache does."""
        self._each(lambda tensor: tensor.index_select(0, rows.to(tensor.device)))

    def expand(self, repeats: int) -> None:
        """Repeat each row of the batch, one after the other."""
        self._each(lambda tensor: tensor.repeat_interleave(repeats, 0))

    def crop(self, tokens: int) -> None:
        """Forget the tokens from this index on, as assisted decoding does with rejected ones.

        What edits keep is left to them: their rule for tokens that were taken back is theirs to state.
        """
        self.seen = min(self.seen, tokens)
        if self.ids is not None:
            self.ids = self.ids[:, :tokens]

    def _each(self, change: Callable[[Tensor], Tensor]) -> None:
        if self.ids is not None:
            self.ids = change(self.ids)
        if self.valid is not None:
            self.valid = change(self.valid)
        for state in self.states.values():
            for name, value in state.items():
                if torch.is_tensor(value):
                    state[name] = change(value)
