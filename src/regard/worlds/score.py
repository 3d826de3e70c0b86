"""How well logits do on a batch of any world."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from .batch import Batch


@dataclass(frozen=True)
class Score:
    """Means over scored tokens, and over examples whose candidates are known.

    `loss` in nats; `floor`, the least that a model can reach, None where that is not known; `accuracy`, the share of tokens that
    got the highest logit of all. Over examples, None where there are no wrong candidates: `choice`, the share whose answer got a
    higher logit than each wrong one, `chance`, what guessing among candidates gives, and `difference`, the logit of the answer
    less the highest of a wrong one.
    """

    loss: float
    floor: float | None
    accuracy: float
    choice: float | None
    chance: float | None
    difference: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Return the numbers by name."""
        return asdict(self)


def score(logits: Tensor, batch: Batch) -> Score:
    """Judge logits [batch, token, vocabulary], those of one place for the token behind it.

    Raises ValueError if nothing is scored, or an answer is asked of an example with several scored tokens or none.
    """
    rows, tokens = batch.scored.nonzero(as_tuple=True)
    if len(rows) == 0:
        raise ValueError("no token of this batch is scored")
    if bool((tokens == 0).any()):
        raise ValueError("a first token is scored, but no logits come before it")
    said = logits[rows, tokens - 1].float()
    right = batch.ids[rows, tokens]
    loss = torch.nn.functional.cross_entropy(said, right).item()
    accuracy = (said.argmax(-1) == right).float().mean().item()
    surprise = batch.truth.get("surprise")
    floor = None if surprise is None else surprise[batch.scored].double().mean().item()
    wrong = batch.truth.get("wrong")
    if wrong is None or wrong.shape[1] == 0:
        return Score(loss, floor, accuracy, None, None, None)
    first = batch.scored.int().argmax(1)  # of an answer of several tokens, candidates differ in the first
    if not bool(batch.scored.any(1).all()):
        raise ValueError("an example has candidates, but no scored token")
    last = logits[torch.arange(len(batch)), first - 1].float()
    given = wrong >= 0
    rivals = last.gather(1, wrong.clamp(min=0)).masked_fill(~given, -torch.inf).amax(1)
    difference = last.gather(1, batch.truth["answer"][:, None])[:, 0] - rivals
    chance = (1 / (1 + given.sum(1))).mean().item()
    return Score(loss, floor, accuracy, (difference > 0).float().mean().item(), chance, difference.mean().item())


@torch.no_grad()
def evaluate(model: Callable[..., Any], batch: Batch, size: int = 64) -> Score:
    """Judge a causal model of transformers on a batch, `size` examples at a time; the model's own mode and device are kept.

    Raises ValueError as `score` does.
    """
    device = getattr(model, "device", batch.ids.device)
    logits = []
    for start in range(0, len(batch), size):
        rows = slice(start, start + size)
        given = {"input_ids": batch.ids[rows], "attention_mask": batch.valid[rows].long()}
        logits.append(model(**{name: tokens.to(device) for name, tokens in given.items()}).logits.float().cpu())
    return score(torch.cat(logits), batch)
