"""A bench model of associative recall: pairs of random vectors, and a key whose value is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...design.memory_capacity import random_keys
from ..optimiser import AdamW
from ..recall_model import Reading, RecallModel
from ..recipe import HELD_OUT, Recipe

SHARPNESS = 10.0


@dataclass(frozen=True, kw_only=True)
class BenchRecall(Recipe):
    """Answers by a vector, and is trained to have it nearest to the right value among those shown."""

    name = "bench-recall"
    about = "A small model that is shown pairs of vectors and then a key, and answers with the value that it was shown with."
    corpus = (
        "Random unit vectors, drawn from the seed and the step: values in all directions, keys with a common direction of each "
        "sequence, so that their mean cosine is `cosine`. Evaluated on vectors of another seed."
    )

    steps: int = 1500
    optimiser: AdamW = field(default_factory=lambda: AdamW(lr=3e-3, warmup=20, weight_decay=0.0))
    evaluate_every: int = 500
    checkpoint_every: int = 500
    batch_size: int = 64
    pairs: int = 16
    dim: int = 16
    width: int = 32
    layers: int = 1
    mlp: bool = False
    reading: Reading = "softmax"
    cosine: float = 0.5

    def model(self) -> nn.Module:
        return RecallModel(self.reading, self.dim, self.width, self.layers, self.mlp)

    def draw(self, count: int, seed: int, pairs: int) -> Mapping[str, Tensor]:
        """Return `count` sequences of some pairs: keys and values [batch, pair, dim], and which pair is asked for, [batch]."""
        generator = torch.Generator().manual_seed(seed)
        shape = (count, pairs, self.dim)
        keys, values = random_keys(shape, generator, self.cosine), random_keys(shape, generator)
        return {"keys": keys, "values": values, "asked": torch.randint(pairs, (count,), generator=generator)}

    def batch(self, step: int) -> Mapping[str, Tensor]:
        pairs = 2 + (self.pairs - 1) * (step % 8) // 7  # few pairs are learnt first, and lead the way
        return self.draw(self.batch_size, 1_000_003 * (self.seed + 1) + step, pairs)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        said = nn.functional.normalize(_answers(model, batch), dim=-1)
        scores = SHARPNESS * (batch["values"] @ said[..., None])[..., 0]
        return nn.functional.cross_entropy(scores, batch["asked"])

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        return {"accuracy": recall(model, self.draw(512, HELD_OUT, self.pairs))}

    def save(self, model: Any, folder: Path) -> None:
        from safetensors.torch import save_model

        save_model(model, str(folder / "model.safetensors"))

    def load(self, folder: str | Path) -> Any:
        from safetensors.torch import load_model

        model = self.model()
        load_model(model, str(Path(folder) / "model.safetensors"))
        return model


def _answers(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    probe = batch["keys"][torch.arange(len(batch["keys"])), batch["asked"]]
    answers: Tensor = model(batch["keys"], batch["values"], probe)
    return answers


@torch.no_grad()
def recall(model: nn.Module, batch: Mapping[str, Tensor]) -> float:
    """Return the share of answers that are nearest to the right value among those of their sequence."""
    device = next(model.parameters()).device
    batch = {name: value.to(device) for name, value in batch.items()}
    said = _answers(model, batch)
    scores = (batch["values"] @ said[..., None])[..., 0]
    return float((scores.argmax(-1) == batch["asked"]).float().mean())


RECIPE = BenchRecall()
