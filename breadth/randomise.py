"""Random weights that hide nothing."""

import torch
from torch import nn


def randomise(model: nn.Module) -> None:
    """Give every weight a value of its own: many classes begin with zeros, behind which nothing moves the output."""
    draw = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=draw)
            if parameter.ndim < 2:
                parameter.add_(0.1 * noise)
            elif parameter.numel():
                parameter.copy_(noise / (parameter.numel() / len(parameter)) ** 0.5)
