"""Two cheap numbers about heads while a model trains: how alike their maps are, and how much their entropies differ."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..lens import Lens, attach
from ..lens.aside import cuda_of, device_of, evaluating
from ..lens.inputs import Inputs
from ..measure import Entropy
from ..measure.similarity import HeadProducts


@dataclass(frozen=True)
class HeadNumbers:
    """What a monitor found at a step, means over layers.

    `entropy` in nats, over heads, queries and texts. `entropy_spread`, sigma_H: the standard deviation over heads of their mean
    entropies (n, not n - 1). `similarity`: the mean cosine between the maps of two heads, joined over all texts;
    `centred_similarity`: of what they have beyond even attention, without which even heads are alike by their mask alone.
    `participation`: PR_norm of the cosine matrix S, `(tr S)^2 / (H tr S^2)`, from 1 / H for equal heads to 1 for orthogonal ones.
    `gap`: its largest eigenvalue less the next. Source: arXiv 2605.20441; which matrix feeds PR_norm is not established there.
    """

    step: int
    entropy: float
    entropy_spread: float
    similarity: float
    centred_similarity: float
    participation: float
    gap: float


@torch.no_grad()
def head_numbers(lens: Lens, x: Mapping[str, Any], step: int = 0) -> HeadNumbers:
    """Measure a model's heads on a batch; raises ValueError for a layer of one head, which nothing is alike to."""
    found = lens.measure(x, [Entropy(), HeadProducts(), HeadProducts(centred=True)])
    if found["entropy"].mean.shape[-1] < 2:
        raise ValueError("heads are compared within a layer, and this model has one head in each")
    entropy = found["entropy"].mean
    plain, centred = (_cosines(found[name].mean) for name in ("head_products", "centred_head_products"))
    heads = plain.shape[-1]
    values = torch.linalg.eigvalsh(plain)
    return HeadNumbers(
        step,
        float(entropy.mean()),
        float(entropy.std(-1, correction=0).mean()),
        float(_between(plain).mean()),
        float(_between(centred).mean()),
        float((values.sum(-1).square() / (heads * values.square().sum(-1))).mean()),
        float((values[..., -1] - values[..., -2]).mean()),
    )


def _cosines(products: Tensor) -> Tensor:
    """Cosines [layer, head, head] of inner products; a map without length is alike to none."""
    norm = products.diagonal(dim1=-2, dim2=-1).clamp_min(1e-24).sqrt()
    return products / norm[..., :, None] / norm[..., None, :]


def _between(cosines: Tensor) -> Tensor:
    """The mean off the diagonal, [layer]."""
    heads = cosines.shape[-1]
    return (cosines.sum((-2, -1)) - cosines.diagonal(dim1=-2, dim2=-1).sum(-1)) / (heads * (heads - 1))


@dataclass(eq=False)
class HeadMonitor:
    """Measures a model's heads on one batch `x` as it trains, without a trace in the training: no gradient, no random number.

    It is a callback of `regard.training.fit`; `observe(step)` is for a loop of your own, after each step; `for_trainer()` gives a
    callback of transformers' Trainer. It measures every so many steps, or, where `every` is None, whenever measuring has taken
    less than the share `budget` of the time since it began; `overhead` is the share it has taken. A model is measured in
    evaluation mode, and `x` is moved to it. Raises ValueError for an interval or a budget that cannot be, and for models whose
    heads cannot be compared.
    """

    model: nn.Module
    x: Mapping[str, Any]
    every: int | None = None
    budget: float = 0.02
    found: list[HeadNumbers] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise ValueError(f"it measures every 1 step or more, not {self.every}")
        if not 0 < self.budget <= 1:
            raise ValueError(f"a budget is a share of the time, above 0 and up to 1, not {self.budget}")
        self._lens: Lens | None = None
        self._began = self._spent = 0.0

    @property
    def overhead(self) -> float:
        """The share of the time since the first step was seen that measuring has taken."""
        passed = time.perf_counter() - self._began
        return self._spent / passed if self._lens else 0.0

    def __call__(self, step: int, model: nn.Module, loss: Tensor, lr: float) -> None:
        """Take note of a step of `regard.training.fit`."""
        self.observe(step)

    def observe(self, step: int) -> HeadNumbers | None:
        """Take note of a step, and return what was measured if it was time to."""
        if self._lens is None:
            self._lens = attach(self.model)  # proved here, which is no part of a step
            self._began = time.perf_counter()
        elif self.every is None and self._spent > self.budget * (time.perf_counter() - self._began):
            return None
        if self.every is not None and step % self.every:
            return None
        began = time.perf_counter()
        with evaluating(self.model), torch.random.fork_rng(cuda_of(self.model)):
            numbers = head_numbers(self._lens, self._moved(), step)
        self.found.append(numbers)
        self._spent += time.perf_counter() - began
        return numbers

    def _moved(self) -> Mapping[str, Any]:
        """`x` where the model is by now: a Trainer moves its model."""
        device = device_of(self.model)
        if isinstance(self.x, Inputs):
            return self.x.to(device)
        return {name: value.to(device) if torch.is_tensor(value) else value for name, value in self.x.items()}

    def for_trainer(self) -> Any:
        """Return a callback of transformers' Trainer, which adds the last measurement to each log as `heads/...`.

        It is in `state.log_history`; trackers that the Trainer calls earlier do not see it.
        """
        from transformers import TrainerCallback

        monitor = self

        class Callback(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
                monitor.observe(state.global_step)

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
                for row in (logs, state.log_history[-1]):  # the history has a row of its own by now
                    if row is not None and monitor.found:
                        row.update({f"heads/{name}": value for name, value in asdict(monitor.found[-1]).items()})

        return Callback()
