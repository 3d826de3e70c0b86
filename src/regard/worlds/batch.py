"""What every world returns: token ids, what is to be predicted, and what is known of each token."""

from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples of a world with their ground truth.

    `ids` [batch, token]. `scored` [batch, token] is True for tokens that can be predicted from those before them: the logits of
    one place earlier are judged by them. `valid` [batch, token] is False for padding. `roles` are named sets of tokens, bool
    [batch, token], fit for `x.segments[name] = tokens`. `truth` is all else that is known, each [batch, ...]; these names
    mean the same everywhere: `answer` [batch], the right token; `wrong` [batch, n], other candidates for its place, -1 for none;
    `source` [batch, token], the place that a token is copied from, -1 for none; `surprise` [batch, token], in nats, minus the log
    probability of a token in the language itself, so that its mean over `scored` is the least loss that a model can reach.
    Raises ValueError if shapes disagree.
    """

    ids: Tensor
    scored: Tensor
    valid: Tensor
    roles: dict[str, Tensor] = field(default_factory=dict)
    truth: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, tokens in {"scored": self.scored, "valid": self.valid, **self.roles}.items():
            if tokens.shape != self.ids.shape or tokens.dtype != torch.bool:
                raise ValueError(
                    f"{name} is {tokens.dtype} {list(tokens.shape)}, but must be bool {list(self.ids.shape)}, as ids are"
                )
        for name, known in self.truth.items():
            if len(known) != len(self.ids):
                raise ValueError(f"{name} is known of {len(known)} examples, but there are {len(self.ids)}")

    def __len__(self) -> int:
        return len(self.ids)

    def inputs(self) -> dict[str, Tensor]:
        """Return what transformers' causal models take, with -100 in `labels` for tokens that are not scored."""
        labels = self.ids.masked_fill(~self.scored, -100)
        return {"input_ids": self.ids, "attention_mask": self.valid.long(), "labels": labels}

    def take(self, rows: Tensor) -> "Batch":
        """Return some of the examples, by a bool [batch] or by their numbers."""
        return Batch(
            self.ids[rows],
            self.scored[rows],
            self.valid[rows],
            {name: tokens[rows] for name, tokens in self.roles.items()},
            {name: known[rows] for name, known in self.truth.items()},
        )


class World(Protocol):
    """A source of batches: the same seed and step give the same batch."""

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""

    def sample(self, count: int, seed: int, step: int = 0) -> Batch:
        """Return a batch of `count` examples."""
