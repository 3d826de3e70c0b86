"""What a model is trained from: plain data, and the functions that make model, batches and evaluation of it."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from . import loop
from .optimiser import AdamW

HELD_OUT = 1_000_000_007
"""The seed of what models are evaluated on, the same for models of all seeds."""


@dataclass(frozen=True, kw_only=True)
class Recipe(ABC):
    """A model and its training; subclasses add fields for what else they depend on, all of them plain data.

    `about` says what the model is and `corpus` what it is trained on, for the model card. `version` is raised when
    `model`, `loss`, `evaluate` or `save` change what they give for the same fields; a change of the data is noticed
    without it.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    corpus: ClassVar[str]
    version: ClassVar[int] = 1

    steps: int
    seed: int = 0
    optimiser: AdamW = field(default_factory=AdamW)
    bf16: bool = False
    evaluate_every: int = 500
    target: Mapping[str, float] = field(default_factory=dict)
    checkpoint_every: int = 500

    @abstractmethod
    def model(self) -> nn.Module:
        """Return the model before training; torch's seed has been set."""

    @abstractmethod
    def batch(self, step: int) -> Mapping[str, Tensor]:
        """Return the batch of a step, on the CPU, the same whenever it is asked for."""

    @abstractmethod
    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """Return metrics on data that are not trained on."""

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of a batch; by default what the model computes from its labels."""
        return loop.model_loss(model, batch)

    def tokenizer(self) -> Any | None:
        """Return the tokenizer of transformers that is saved with the model, None if it has none."""
        return None

    def save(self, model: Any, folder: Path) -> None:
        """Write the model as safetensors and configuration; by default as transformers and diffusers do."""
        with no_bar():
            model.save_pretrained(folder)
        if (tokenizer := self.tokenizer()) is not None:
            tokenizer.save_pretrained(folder)

    def load(self, folder: str | Path) -> Any:
        """Return the model that `save` wrote; by default as transformers and diffusers do."""
        kind: Any = type(self.model())
        return kind.from_pretrained(folder)

    def to_json(self) -> dict[str, Any]:
        """Return what the trained model depends on: the fields, versions of code, and a hash of the first batch."""
        return {
            "recipe": self.name,
            "fields": asdict(self),
            "versions": {"recipe": self.version, "fit": loop.VERSION},
            "data": self._data,
        }

    @cached_property
    def key(self) -> str:
        """The hash of `to_json`, 20 hexadecimal digits: models with the same key need not be trained twice.

        Raises TypeError for a field that is no plain data, ValueError for a number that is not finite.
        """
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @cached_property
    def _data(self) -> str:
        found = hashlib.sha256()
        with torch.random.fork_rng([]):
            torch.manual_seed(self.seed)
            batch = self.batch(0)
        for name, value in sorted(batch.items()):
            found.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
            found.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return found.hexdigest()[:20]


@contextmanager
def no_bar() -> Iterator[None]:
    """Keep transformers from showing a bar of its own while it saves."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
