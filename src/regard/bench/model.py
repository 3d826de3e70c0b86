"""`regard bench model`: a forward pass, plain, eager, and with the statistics of `regard scan` taken."""

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..lens import Lens, Measurement, attach
from ..measure import Distance, Entropy, SinkMass
from .arms import Arm, deviation
from .core import STATISTICS
from .result import EAGER, PLAIN, Result, Setting, compare, machine, versions


def run(
    model: nn.Module,
    tokenizer: Any,
    texts: Sequence[str],
    lengths: Sequence[int],
    batch: int,
    setting: Setting,
    progress: Callable[[], None],
    name: str = "the model",
) -> Result:
    """Time a model of transformers on `batch` texts cut to each of the lengths; `progress` is told of each round.

    Raises ValueError, before anything of a length is timed, if a statistic differs from that of the eager maps, and for
    a length that the model does not take.
    """
    lens = attach(model, tokenizer)
    dense: Any = copy.deepcopy(model)  # to switch one model back and forth would be timed, too
    dense.set_attn_implementation("eager")
    shapes = []
    for length in lengths:
        x = _inputs(lens, texts, length, batch)
        shape = {"length": length, "batch": batch}
        shapes.append(compare(shape, arms(lens, dense, x), setting, progress))
    used = versions("regard", "torch", "transformers")
    return Result("model", f"{name} ({type(model).__name__})", setting, machine(setting.device), used, shapes)


def arms(lens: Lens, dense: nn.Module, x: dict[str, Any]) -> list[Arm]:
    """Return the arms for inputs without padding; `dense` is the model with eager attention."""
    known = inspect.signature(lens.model.forward).parameters
    given = {**x, "use_cache": False} if "use_cache" in known else x  # a lens measures without cache, too
    truth = _truth(dense, given)

    def check(measured: Measurement) -> float:
        if len(measured.sites) != truth["entropy"].shape[0]:
            raise ValueError(
                f"nothing was timed: {len(measured.sites)} attentions were measured, and the model gives maps of "
                f"{truth['entropy'].shape[0]}"
            )
        means = {name: measured[name].mean for name in truth}
        return max(
            [measured.deviation, *(deviation(mean, truth[name]) for name, mean in means.items() if mean is not None)]
        )

    return [
        Arm("forward", PLAIN, lambda: lens.model(**given), None),
        Arm("+ maps", EAGER, lambda: dense(**given, output_attentions=True), None),
        Arm("+ scan", "lens", lambda: lens.measure(x, STATISTICS), check),
    ]


def _inputs(lens: Lens, texts: Sequence[str], length: int, batch: int) -> dict[str, Any]:
    """Return texts of exactly `length` tokens, each beginning at another place."""
    whole = []
    for start in range(batch):
        text = " ".join([*texts[start % len(texts) :], *texts[: start % len(texts)]])
        whole.append(" ".join([text] * (1 + length * 8 // len(text))))  # no tokenizer needs eight letters for a token
    try:
        x = lens.encode(whole, length)
    except ValueError as error:
        raise ValueError(f"cannot time {length} tokens: {error}") from error
    if x["input_ids"].shape[1] != length or not bool(x.valid.all()):
        raise ValueError(f"cannot time {length} tokens: the tokenizer makes {x['input_ids'].shape[1]} of the texts")
    return x


def _truth(dense: nn.Module, given: dict[str, Any]) -> dict[str, Tensor]:
    """Return statistics of the eager maps, [layer, head] in float64 and averaged over texts, one text at a time."""
    found: dict[str, list[Tensor]] = {SinkMass().name: [], Entropy().name: [], Distance().name: []}
    batch = given["input_ids"].shape[0]
    with torch.no_grad():
        for row in range(batch):
            one = {key: value[row : row + 1] if torch.is_tensor(value) else value for key, value in given.items()}
            layers = dense(**one, output_attentions=True).attentions
            a = torch.cat([layer.double() for layer in layers])  # [layer, head, query, key]
            places = torch.arange(a.shape[-1], device=a.device)
            found[SinkMass().name].append(a[..., 0].mean(-1))
            found[Entropy().name].append(-torch.xlogy(a, a).sum(-1).mean(-1))
            found[Distance().name].append((a * (places[:, None] - places).abs()).sum(-1).mean(-1))
    return {name: torch.stack(values).mean(0) for name, values in found.items()}
