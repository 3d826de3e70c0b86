"""A model run beside its work: where it is, and its modes and random numbers as they were."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def device_of(model: nn.Module) -> torch.device:
    """Return where a model takes its inputs: the device of its first parameter that is not on "meta"."""
    return next((p.device for p in model.parameters() if not p.is_meta), torch.device("cpu"))


def cuda_of(model: nn.Module) -> list[torch.device]:
    """Return the CUDA devices that a model's parameters are on, for `torch.random.fork_rng`."""
    return [device for device in dict.fromkeys(p.device for p in model.parameters()) if device.type == "cuda"]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode, and each of its modules back in its own mode at the end."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def drawing_alike(model: nn.Module) -> Iterator[None]:
    """Have a model draw alike each time, and leave all random numbers as they were."""
    devices = cuda_of(model)
    with torch.random.fork_rng(devices):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed every GPU, and those are not all put back
        for device in devices:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(0)
        yield
