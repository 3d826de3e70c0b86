"""Every architecture of the installed timm that has attention, small and with random weights."""

from importlib import import_module

import torch
from torch import nn

from .family import Built
from .randomise import randomise
from .timm_cases import CASES, NO_ATTENTION

__all__ = ["NO_ATTENTION", "build", "families"]


def families() -> list[str]:
    """Return the names of the families; raises ImportError where timm cannot be imported."""
    try:
        import timm  # noqa: F401
    except Exception as error:
        raise ImportError(
            "timm does not import here; it needs torchvision beside the installed torch, so it has an environment of its own"
        ) from error
    return sorted({*CASES, *NO_ATTENTION})


def build(name: str) -> Built:
    """Return a small random instance of a family, with images; raises KeyError for a family without a case."""
    import timm

    case = CASES[name]
    torch.manual_seed(0)
    if case.made[0].isupper():
        kind = getattr(import_module(f"timm.models.{case.module}"), case.made)
        model: nn.Module = kind(num_classes=10, **case.config)
    else:
        model = timm.create_model(case.made, pretrained=False, num_classes=10, **case.config)
    model = model.eval()
    randomise(model)
    images = torch.randn(2, 3, *case.image, generator=torch.Generator().manual_seed(1))
    return Built(model, {"x": images})
