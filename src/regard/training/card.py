"""The model card that a trained model is saved with."""

import platform
from typing import Any

import torch
from torch import nn

from .history import History, Value
from .recipe import Recipe

_ENDED = {"steps": "all steps done", "target": "target of the evaluation reached"}


def text(recipe: Recipe, model: nn.Module, history: History) -> str:
    """Return the card in Markdown: what the model is, its data, recipe, training time, and evaluation."""
    kind = type(model)
    fields = recipe.to_json()["fields"]
    rows = [(name, _shown(value)) for name, value in fields.items()]
    evaluation = [(name, _number(value)) for name, value in history.evaluation.items()]
    return "\n".join(
        [
            f"# {recipe.name}",
            "",
            recipe.about,
            "",
            f"`{kind.__name__}` of `{kind.__module__.partition('.')[0]}`, "
            f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters.",
            "",
            "## Data",
            "",
            recipe.corpus,
            "",
            "## Recipe",
            "",
            *_table(("field", "value"), rows),
            "",
            f"Key of the recipe: `{recipe.key}`. The same as data: `recipe.json`.",
            "",
            "## Training",
            "",
            f"{history.steps:,} steps in {_duration(history.seconds)}, {_ENDED[history.ended or 'steps']}, "
            f"on {_machine(model)}. Loss at the end: {_number(history.rows[-1]['loss'])}. Each step: `history.json`.",
            "",
            "## Evaluation",
            "",
            *_table(("metric", "value"), evaluation),
            "",
        ]
    )


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> list[str]:
    return [f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]


def _shown(value: Any) -> str:
    """A field as it is read: the values of a mapping in a row."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(inner)}" for name, inner in value.items()) or "none"
    return str(value).replace("|", "\\|").replace("\n", " ")


def _number(value: Value) -> str:
    return "not finite" if value is None else f"{value:.4g}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _machine(model: nn.Module) -> str:
    """The device, and the versions that the numbers may depend on."""
    device = next(model.parameters()).device
    if device.type == "cuda":
        where = torch.cuda.get_device_name(device)
    else:
        where = f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"
    return f"{where}, torch {torch.__version__}"
