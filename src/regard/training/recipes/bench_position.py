"""A bench model for position bias: attention alone, taught to answer from the examples before the question."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...worlds.bursts import Bursts
from ..attention_stack import AttentionStack, Positions, Seen, StackShape
from ..optimiser import AdamW
from ..recipe import HELD_OUT, Recipe


@dataclass(frozen=True, kw_only=True)
class BenchPosition(Recipe):
    """A stack of attention layers on `Bursts`."""

    name = "bench-position"
    about = (
        "Layers of attention alone, without norms or feed-forward layers, and a small network behind the last token. It has "
        "to label an item as the items before it are labelled, and shows which of two places it listens to."
    )
    corpus = "Vectors of `regard.worlds.bursts`, made up from the seed and the step. Evaluated on classes that are new."

    steps: int = 1600
    optimiser: AdamW = field(default_factory=lambda: AdamW(lr=1e-3, schedule="constant", weight_decay=1e-6))
    evaluate_every: int = 1600
    checkpoint_every: int = 1600
    batch_size: int = 64
    layers: int = 2
    mask: Seen = "causal"
    positions: Positions = "none"
    residual: bool = False
    data: Bursts = field(default_factory=Bursts)

    @property
    def shape(self) -> StackShape:
        """What the model is made of."""
        return StackShape(
            layers=self.layers, dim=self.data.dim, outputs=self.data.labels, mask=self.mask, positions=self.positions,
            residual=self.residual,
        )  # fmt: skip

    def model(self) -> nn.Module:
        return AttentionStack(self.shape)

    def batch(self, step: int) -> Mapping[str, Tensor]:
        shots = self.data.sample(self.batch_size, self.seed, step)
        return {"vectors": shots.vectors, "label": shots.label}

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model(batch["vectors"]), batch["label"])

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        last = self.data.slots - 1
        shots = self.data.sample(1000, HELD_OUT)
        device = next(model.parameters()).device
        right = model(shots.vectors.to(device)).argmax(-1).cpu() == shots.label
        return {"accuracy": right.float().mean().item(), "first_last": gap(model, self.data, 0, last, 1000)}

    def save(self, model: Any, folder: Path) -> None:
        save_file(model.state_dict(), folder / "model.safetensors")

    def load(self, folder: str | Path) -> Any:
        model = self.model()
        model.load_state_dict(load_file(Path(folder) / "model.safetensors"))
        return model


@torch.no_grad()
def gap(model: nn.Module, data: Bursts, first: int, second: int, count: int = 10_000) -> float:
    """Return how much more often the label of one of two equal items is given than the other's: above 0, the `first` slot's."""
    shots = data.rivals(count, first, second, HELD_OUT)
    device = next(model.parameters()).device
    said = model(shots.vectors.to(device)).argmax(-1).cpu()
    assert shots.other is not None
    return ((said == shots.label).float() - (said == shots.other).float()).mean().item()


RECIPE = BenchPosition()
