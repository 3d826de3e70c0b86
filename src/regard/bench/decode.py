"""`regard bench decode`: steps of a model that writes one token after the other, plain and with an idle lens."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..lens import attach
from .arms import Arm, deviation
from .copies import shared_copy
from .result import PLAIN, Result, Setting, compare, machine, versions
from .shapes import random_ids

UNTIMED = 2
"""Steps of each arm that come before the warm-up: one is checked, and of one the memory is taken."""


@dataclass
class Writer:
    """A model behind a cache that is given the next of its tokens, [batch, token], with each step."""

    model: nn.Module
    ids: Tensor
    done: int
    cache: Any

    @classmethod
    def after(cls, model: nn.Module, ids: Tensor, prompt: int) -> "Writer":
        """Return a writer that has read the prompt; raises ValueError for a model that keeps no cache."""
        known = inspect.signature(model.forward).parameters
        read = model(input_ids=ids[:, :prompt], use_cache=True) if "past_key_values" in known else None
        cache = getattr(read, "past_key_values", None)
        if cache is None:
            raise ValueError(f"{type(model).__name__} keeps no cache, so it does not write token by token")
        return cls(model, ids, prompt, cache)

    def step(self) -> Tensor:
        """Return the output of the next token."""
        given = self.ids[:, self.done : self.done + 1]
        self.done += 1
        output: Tensor = self.model(input_ids=given, past_key_values=self.cache, use_cache=True)[0]
        return output


def run(
    model: nn.Module,
    prompts: Sequence[int],
    batch: int,
    setting: Setting,
    progress: Callable[[], None],
    name: str = "the model",
) -> Result:
    """Time steps behind prompts of these lengths, of random tokens; each timed run is a step, behind a cache one longer.

    Raises ValueError, before anything is timed, if a step with a lens differs from the same one without a cache, and for a
    model that keeps no cache.
    """
    plain = shared_copy(model)
    lens = attach(model)
    shapes = []
    for prompt in prompts:
        steps = UNTIMED + setting.warm_up + setting.runs
        ids = random_ids(model, batch, prompt + steps, setting.seed)["input_ids"]
        with torch.no_grad():
            whole = plain(input_ids=ids[:, : prompt + 1])[0][:, -1:]
            ways = {PLAIN: Writer.after(plain, ids, prompt), "idle lens": Writer.after(lens.model, ids, prompt)}
        check = partial(deviation, expected=whole)
        arms = [Arm("decode step", path, writer.step, check) for path, writer in ways.items()]
        shapes.append(compare({"prompt": prompt, "batch": batch}, arms, setting, progress))
    used = versions("regard", "torch", "transformers")
    return Result("decode", f"{name} ({type(model).__name__})", setting, machine(setting.device), used, shapes)
