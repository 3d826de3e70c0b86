"""Every model folder of the installed transformers, as one small random model each."""

import importlib
import inspect
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel

from .family import Built
from .overrides import CLASSES, OVERRIDES
from .pictures import KINDS
from .shrink import shrink
from .special import INPUTS, NO_ATTENTION

__all__ = ["NO_ATTENTION", "build", "families"]

ENDINGS = (
    "ForConditionalGeneration", "ForMaskedLM", "ForCausalLM", "LMHeadModel", "MTModel", "ForCTC", "ForPreTraining",
    "ForPretraining", "ForPrediction", "ForObjectDetection", "ForUniversalSegmentation", "ForInstanceSegmentation",
    "ForKeypointMatching", "ForImageSegmentation", "ForDepthEstimation", "ForRetrieval", "ForImageClassification",
    "ForVideoClassification", "ForMaskedImageModeling", "Model", "",
)  # fmt: skip
"""What the class's name ends with that stands for a family, best first: with the head that most people load it with."""


def families() -> list[str]:
    """Return the names of the model folders that have a modeling file."""
    folder = Path(transformers.__file__).parent / "models"
    return sorted({path.parent.name for path in folder.glob("*/modeling_*.py")} - {"auto"})


def build(name: str) -> Built:
    """Return a small random instance of a family, with inputs where the doctor makes none."""
    torch.manual_seed(0)
    kind = KINDS[name](_class(name)) if name in KINDS else _class(name)
    model = kind(shrink(kind.config_class, OVERRIDES.get(name))).eval().float()
    randomise(model)
    settings: Any = getattr(model, "generation_config", None)
    if model.config.is_encoder_decoder and settings is not None and settings.decoder_start_token_id is None:
        settings.decoder_start_token_id = 0  # as checkpoints have it
    x = INPUTS[name](model) if name in INPUTS else None
    return Built(model, x)


def randomise(model: nn.Module) -> None:
    """Give every weight a value of its own, so that attention is not uniform and nothing is multiplied by zero."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.is_floating_point() or not parameter.numel():
                continue
            noise = torch.randn(parameter.shape, generator=draw)
            if parameter.ndim > 1:
                fan_in = parameter.shape[-1] if parameter.ndim == 3 else parameter[0].numel()
                parameter.copy_(noise / max(fan_in, 1) ** 0.5)
            else:
                parameter.add_(0.1 * noise)


def _class(name: str) -> Any:
    known = _classes(name)
    if name in CLASSES:
        return known[CLASSES[name]]
    chosen = next((kind for ending in ENDINGS for key, kind in known.items() if key.endswith(ending)), None)
    if chosen is None:
        raise ValueError(f"none of {', '.join(known) or 'its classes'} is known as the one that stands for a family")
    return chosen


@cache
def _classes(name: str) -> dict[str, Any]:
    """Return the model classes of a folder, in the order of their files."""
    package = importlib.import_module(f"transformers.models.{name}")
    found = {}
    for path in sorted(Path(str(package.__path__[0])).glob("modeling_*.py")):
        module = importlib.import_module(f"{package.__name__}.{path.stem}")
        for key, kind in vars(module).items():
            if inspect.isclass(kind) and issubclass(kind, PreTrainedModel) and kind.__module__ == module.__name__:
                found[key] = kind
    return {key: kind for key, kind in found.items() if not key.endswith("PreTrainedModel")}
