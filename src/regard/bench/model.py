"""`regard bench model`: a forward pass, plain, with an idle lens, and with what `regard scan` asks, by a lens or from maps."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..lens import Lens, Measurement, attach
from ..measure import Received
from .arms import Arm, deviation
from .copies import shared_copy
from .core import STATISTICS
from .maps import Shown, statistics
from .result import EAGER, PLAIN, Result, Setting, compare, machine, versions
from .shapes import random_ids


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

    Without a tokenizer, tokens are random. Raises ValueError, before anything of a length is timed, if a statistic differs
    from that of the eager maps, and for a length that the model does not take.
    """
    plain, dense = shared_copy(model), shared_copy(model)  # to switch one model back and forth would be timed, too
    dense.set_attn_implementation("eager")
    lens = attach(model, tokenizer)
    shapes = []
    for length in lengths:
        x = random_ids(model, batch, length, setting.seed) if tokenizer is None else _inputs(lens, texts, length, batch)
        shape = {"length": length, "batch": batch}
        shapes.append(compare(shape, arms(lens, plain, dense, x), setting, progress))
    used = versions("regard", "torch", "transformers")
    return Result("model", f"{name} ({type(model).__name__})", setting, machine(setting.device), used, shapes)


def arms(lens: Lens, plain: nn.Module, dense: nn.Module, x: Mapping[str, Any]) -> list[Arm]:
    """Return the arms for inputs without padding; `plain` is the model without a lens, `dense` the one of eager attention."""
    known = inspect.signature(lens.model.forward).parameters
    given = {**x, "use_cache": False} if "use_cache" in known else dict(x)  # a lens measures without cache, too
    with torch.no_grad():
        output = plain(**given)[0]
        truth, shown = _truth(dense, given)

    def from_maps() -> dict[str, Tensor]:
        return statistics(dense(**given, output_attentions=True).attentions, shown)

    def check_maps(found: dict[str, Tensor]) -> float:
        return max(deviation(found[name], truth[name]) for name in truth)

    def check(measured: Measurement) -> float:
        if len(measured.sites) != len(shown):
            raise ValueError(
                f"nothing was timed: {len(measured.sites)} attentions were measured, and the model gives maps of {len(shown)}"
            )
        received = Received().name
        off = [deviation(measured[name].mean, truth[name].mean(1)) for name in truth if name != received]
        texts = zip(measured[received].examples, truth[received].unbind(1), strict=True)
        return max([measured.deviation, *off, *(deviation(one, other) for one, other in texts)])

    return [
        Arm("forward", PLAIN, lambda: plain(**given), None),
        Arm("forward", "idle lens", lambda: lens.model(**given), lambda found: deviation(found[0], output)),
        Arm("+ statistics", EAGER, from_maps, check_maps),
        Arm("+ statistics", "lens", lambda: lens.measure(x, STATISTICS), check),
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


def _truth(dense: nn.Module, given: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[Shown]]:
    """Return the statistics of the eager maps in float64, [layer, batch, head] or with keys, and what each layer shows."""
    layers = dense(**given, output_attentions=True).attentions
    shown = [Shown.of(layer) for layer in layers]
    texts = [
        [statistics([layer[row : row + 1].double()], [each]) for layer, each in zip(layers, shown, strict=True)]
        for row in range(len(layers[0]))
    ]  # one map at a time, since a float64 copy of all would take twice their memory
    return {
        name: torch.cat([torch.cat([layer[name] for layer in layered]) for layered in texts], 1) for name in texts[0][0]
    }, shown
