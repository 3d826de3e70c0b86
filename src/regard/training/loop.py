"""The trainer: one loop for every small model of this library."""

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from . import checkpoint
from .checkpoint import Checkpoints
from .history import EVALUATION, History, Value, reached
from .optimiser import AdamW

Batches = Callable[[int], Mapping[str, Tensor]]
Loss = Callable[[nn.Module, Mapping[str, Tensor]], Tensor]
Callback = Callable[[int, nn.Module, Tensor, float], None]

VERSION = 1
"""Raised when the same arguments give other weights than before."""


@dataclass(frozen=True)
class Evaluation:
    """How a model is evaluated during training: `run` gives metrics by name, every so many steps and at the end.

    Training ends early once every metric in `target` is at its value or above. `run` gets the model in evaluation
    mode, without gradients, and the same random numbers each time.
    """

    run: Callable[[nn.Module], Mapping[str, float]]
    every: int
    target: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"expected an evaluation every 1 step or more, found {self.every}")


def model_loss(model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the loss that a model of transformers computes itself, from a batch that has its `labels`."""
    loss = model(**batch).loss
    if loss is None:
        raise ValueError(f"the model gave no loss for a batch of {', '.join(batch)}: add labels, or give fit a loss")
    return loss


def fit(
    model: nn.Module,
    batches: Batches,
    steps: int,
    *,
    loss: Loss = model_loss,
    optimiser: AdamW | None = None,
    seed: int = 0,
    bf16: bool = False,
    evaluation: Evaluation | None = None,
    checkpoints: Checkpoints | None = None,
    callbacks: Sequence[Callback] = (),
    row_every: int = 10,
) -> History:
    """Train a model in place, where it is, and return the history of the run.

    `batches(step)` gives the batch of a step, counted from 0, and may be asked for any step. All random numbers of a
    step are drawn from `seed` and the step, so that nothing done between steps changes the run. A run that was killed
    goes on from its newest checkpoint to the same weights: on a CPU with the same number of threads bit for bit, on
    other devices as far as their kernels are deterministic. The caller's random state is left as it was.

    Each callback gets the number of steps done, the model with the step's gradients after clipping, the loss as a
    tensor, and the learning rate. With `bf16` the loss is computed under autocast, and the weights stay as they are.
    The history has a row every `row_every` steps, and at evaluations and checkpoints.

    Raises FloatingPointError when a loss or a gradient is not finite (no later than the next row), ValueError for a
    checkpoint of another run, OSError if another process trains in the same folder.
    """
    if steps < 1 or row_every < 1:
        raise ValueError(f"expected steps and row_every of 1 or more, found {steps} and {row_every}")
    optimiser = optimiser or AdamW()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError("expected a model with parameters to train, found none that requires a gradient")
    device = parameters[0].device
    stepper = optimiser.make(parameters)
    settings = {
        "version": VERSION,
        "steps": steps,
        "optimiser": asdict(optimiser),
        "seed": seed,
        "bf16": bf16,
        "evaluation": evaluation and {"every": evaluation.every, "target": dict(evaluation.target)},
        "every": checkpoints and checkpoints.every,
        "row_every": row_every,
    }
    history = History()
    mode = model.training
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad())  # also where a caller only measures what is trained
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        stack.callback(model.train, mode)
        folder = stack.enter_context(checkpoints.open()) if checkpoints else None
        if folder and (path := checkpoint.newest(folder)):
            history = checkpoint.load(path, model, stepper, settings)
        since = time.perf_counter() - history.seconds
        window = _Window(history)
        model.train()
        stepper.zero_grad()
        while history.ended is None:
            step = window.step
            torch.manual_seed(_seed(seed, step))
            batch = {name: value.to(device, non_blocking=True) for name, value in batches(step).items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                value = loss(model, batch)
            value.backward()
            norm = nn.utils.clip_grad_norm_(parameters, optimiser.clip or math.inf)
            lr = optimiser.rate(step, steps)
            for group in stepper.param_groups:
                group["lr"] = lr
            stepper.step()
            window.add(value.detach(), norm)
            for callback in callbacks:
                callback(step + 1, model, value.detach(), lr)
            stepper.zero_grad()
            evaluate = evaluation is not None and _due(step + 1, evaluation.every, steps)
            store = checkpoints is not None and _due(step + 1, checkpoints.every, steps)
            if not (evaluate or store or _due(step + 1, row_every, steps)):
                continue
            row = window.row(lr, folder)
            if evaluate and evaluation is not None:
                metrics = _evaluate(model, evaluation, seed)
                row |= {f"{EVALUATION}{name}": metric for name, metric in metrics.items()}
                if reached(metrics, list(evaluation.target.items())):
                    history.ended = "target"
            if history.ended is None and step + 1 == steps:
                history.ended = "steps"
            row["seconds"] = time.perf_counter() - since
            history.rows.append(row)
            if folder and (store or history.ended):
                checkpoint.save(folder, model, stepper, history, settings)
    return history


class _Window:
    """The losses and norms since the last row, left on their device until a row is made, so that no step waits."""

    def __init__(self, history: History) -> None:
        self.step = history.steps
        self._kept: list[Tensor] = []

    def add(self, loss: Tensor, norm: Tensor) -> None:
        self.step += 1
        self._kept.append(torch.stack([loss.float(), norm.float()]))

    def row(self, lr: float, folder: Any) -> dict[str, Value]:
        """Return the row of these steps, and begin anew; raises FloatingPointError if one of them was not finite."""
        kept = torch.stack(self._kept).tolist()
        first = self.step - len(kept) + 1
        self._kept.clear()
        for step, (loss, norm) in enumerate(kept, first):
            if not (math.isfinite(loss) and math.isfinite(norm)):
                path = folder and checkpoint.newest(folder)
                rest = f"the checkpoint before it is {path}" if path else "there is no checkpoint before it"
                what = f"the loss is {loss}" if not math.isfinite(loss) else f"the norm of the gradient is {norm}"
                raise FloatingPointError(f"{what} at step {step} with a learning rate of about {lr:.2g}; {rest}")
        losses, norms = zip(*kept, strict=True)
        return {"step": self.step, "loss": math.fsum(losses) / len(losses), "grad_norm": max(norms), "lr": lr}


def _due(done: int, every: int, steps: int) -> bool:
    return done % every == 0 or done == steps


def _evaluate(model: nn.Module, evaluation: Evaluation, seed: int) -> dict[str, Value]:
    torch.manual_seed(_seed(seed, -1))
    model.eval()
    with torch.no_grad():
        metrics = {name: float(value) for name, value in evaluation.run(model).items()}
    model.train()
    missing = [name for name in evaluation.target if name not in metrics]
    if missing:
        raise ValueError(f"the target names {', '.join(missing)}, but the evaluation gives {', '.join(metrics)}")
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def _seed(seed: int, step: int) -> int:
    """A seed of its own for each run and step; hashed, as torch's CPU generator takes no more than 32 bits of it."""
    return int.from_bytes(hashlib.sha256(f"{seed} {step}".encode()).digest()[:8], "big")
