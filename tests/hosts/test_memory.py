"""Measuring long texts makes no tensor of queries times keys, with padding and without."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import regard

from .zoo import LLAMA, MISTRAL, Case

LENGTH = 4096


class Largest(TorchDispatchMode):
    """Watches how many numbers the largest storage holds that any operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        sizes = [leaf.untyped_storage().nbytes() // leaf.element_size() for leaf in tensors]
        self.numbers = max([self.numbers, *sizes])
        return result


def long(padded: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 60, (1, LENGTH), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[0, :padded] = 0
    return {"input_ids": ids, "attention_mask": mask}


def one_layer(case: Case) -> Any:
    model: Any = case.build()
    model.model.layers = nn.ModuleList(model.model.layers[:1])
    model.config.num_hidden_layers = 1
    return model


@pytest.mark.parametrize(
    ("case", "padded"), [(LLAMA, 0), (LLAMA, 300), (MISTRAL, 300)], ids=["plain", "left", "window"]
)
def test_no_tensor_of_queries_times_keys(case: Case, padded: int) -> None:
    model, x = one_layer(case), long(padded)
    lens = regard.attach(model)
    with Largest() as seen:
        lens.measure(x, [regard.SinkMass(), regard.Entropy(), regard.Received()])
    assert seen.numbers < LENGTH**2 / 2
    assert bool(lens._tap.notes) == bool(padded)


def test_the_watch_sees_what_the_host_would_make() -> None:
    model = one_layer(LLAMA)
    with Largest() as seen, torch.no_grad():
        model.model(**long(300))
    assert seen.numbers >= LENGTH**2
