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

    `step` counts the forward passes before this one, `seen` the tokens of those passes that still count, `length` those and
    this pass's, `prompt` those of the prompt, padding included. `ids` [batch, token] are the token ids so far and `valid`
    [batch, token] is False for padding, each None if the model was given none; `ends` [batch] are the places behind each
    prompt's last token where padding on the right makes them differ. `examples` [batch] says which example each row belongs
    to where a generation gives one several (beams, samples), None where rows are examples. `beams` [sequence, step] says, when
    a beam search has ended, by which row of each step its returned sequences went, -1 behind their ends. `source` is what an
    encoder-decoder's encoder was given, with `ids` and `valid` of its own.
    """

    step: int = 0
    seen: int = 0
    length: int = 0
    prompt: int = 0
    ids: Tensor | None = None
    valid: Tensor | None = None
    ends: Tensor | None = None
    examples: Tensor | None = None
    beams: Tensor | None = None
    segments: Segments | None = None
    source: "Session | None" = None
    states: dict[tuple[int, Any], tuple[object, dict[str, Any]]] = field(default_factory=dict)

    @property
    def prompt_end(self) -> int | Tensor:
        """The place behind the prompt's last token, padding included: an index, or one per example, [batch]."""
        return self.prompt if self.ends is None else self.ends

    def state(self, owner: object, site: Any) -> dict[str, Any]:
        """Return what an edit keeps for one site in this run, empty at first; its tensors are [batch, ...]."""
        return self.states.setdefault((id(owner), site), (owner, {}))[1]  # held, so that its id is nobody else's

    def reorder(self, rows: Tensor) -> None:
        """Take these rows of the batch, as a beam search or a selection of its cache does."""
        self._each(lambda tensor: tensor.index_select(0, rows.to(tensor.device)))

    def expand(self, repeats: int) -> None:
        """Repeat each row of the batch, one after the other."""
        self._each(lambda tensor: tensor.repeat_interleave(repeats, 0))

    def crop(self, tokens: int) -> None:
        """Forget the tokens from this index on, as assisted decoding does with rejected ones.

        An edit that keeps something of them takes it back in its own `crop(state, tokens)`, if it has one.
        """
        self.seen = min(self.seen, tokens)
        self.length = min(self.length, tokens)
        if self.ids is not None:
            self.ids = self.ids[:, :tokens]
        for owner, state in self.states.values():
            if hasattr(owner, "crop"):
                owner.crop(state, tokens)

    def _each(self, change: Callable[[Tensor], Tensor]) -> None:
        for name in ("ids", "valid", "ends", "examples"):
            tensor = getattr(self, name)
            if tensor is not None:
                setattr(self, name, change(tensor))
        for _, state in self.states.values():
            for name, value in state.items():
                if torch.is_tensor(value):
                    state[name] = change(value)
