"""AdamW with its learning rate over the steps, as plain data."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

Schedule = Literal["constant", "cosine", "wsd"]
_FUSED = {"cpu", "cuda"}


@dataclass(frozen=True)
class AdamW:
    """AdamW, a schedule of its learning rate, and the largest norm of the gradient.

    The rate rises linearly to `lr` over the first `warmup` steps. Then it is constant, or falls to `final * lr`: as a
    cosine, or, with "wsd" (warm-up, stable, decay), as a line over the last share `decay` of all steps. Weight decay
    is for matrices only, so not for biases and norms. `clip` is the largest norm that a gradient keeps, None for any.

    Raises ValueError for values out of range.
    """

    lr: float = 1e-3
    schedule: Schedule = "cosine"
    warmup: int = 0
    final: float = 0.0
    decay: float = 0.2
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        if self.schedule not in ("constant", "cosine", "wsd"):
            raise ValueError(f"expected a schedule constant, cosine or wsd, found {self.schedule!r}")
        if not (self.lr > 0 and self.warmup >= 0 and 0 <= self.final <= 1 and 0 < self.decay <= 1):
            raise ValueError(
                "expected lr > 0, warmup >= 0, final in [0, 1] and decay in (0, 1], found "
                f"{self.lr}, {self.warmup}, {self.final}, {self.decay}"
            )
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"expected clip > 0 or None, found {self.clip}")

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step, counted from 0, in a run of `steps`."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        if self.schedule == "constant":
            return self.lr
        if self.schedule == "cosine":
            done = (step - self.warmup) / max(steps - self.warmup, 1)
            left = (1 + math.cos(math.pi * done)) / 2
        else:
            left = min((steps - step) / max(self.decay * steps, 1), 1.0)
        return self.lr * (self.final + (1 - self.final) * left)

    def make(self, parameters: Iterable[nn.Parameter]) -> torch.optim.AdamW:
        """Return torch's optimiser of these parameters."""
        parameters = list(parameters)
        matrices = [p for p in parameters if p.ndim >= 2]
        vectors = [p for p in parameters if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": self.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        fused = all(p.device.type in _FUSED for p in parameters)
        return torch.optim.AdamW([g for g in groups if g["params"]], lr=self.lr, betas=self.betas, fused=fused)
