"""How open gates are, by the model's own passes: gates that `Gate` put in, and those of models that were made with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .gate import CHILD, gated

CLOSED = 0.1
"""A gate below this is closed, as in arXiv 2505.06708, section 4.2."""


@contextmanager
def gate_values(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Read the gates of each pass, by the path of the attention module: [batch, query, head or 1, dim or 1] of the last pass.

    Also of attention whose gates are rows of `q_proj`, as in Qwen3-Next. With a gate for each head,
    `gates.transpose(1, 2) * lens.weights(x, layer=n)` are the effective weights [batch, head, query, key]: plain weights
    leave the gate out. Values are those of the activation, without the factor by which a preserving gate starts. Raises
    ValueError for a model without gates.
    """
    found: dict[str, Tensor] = {}
    own, packed = gated(model), packed_gates(model)
    if not (own or packed):
        raise ValueError(f"{type(model).__name__} has no gates")
    handles = []
    for path, module in own.items():
        gate: Any = getattr(module, CHILD)
        handles.append(gate.register_forward_hook(_keep(found, path, gate.values)))
    for path, module in packed.items():
        handles.append(module.q_proj.register_forward_hook(_keep(found, path, _packed_values(module.head_dim))))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def packed_gates(model: nn.Module) -> dict[str, Any]:
    """Return the attention modules whose `q_proj` gives queries and gates, head by head, by their paths."""
    found = {}
    for path, module in model.named_modules():
        q, o, dim = (getattr(module, name, None) for name in ("q_proj", "o_proj", "head_dim"))
        if q is not None and o is not None and dim and getattr(q, "out_features", 0) == 2 * o.in_features:
            found[path] = module
    return found


def openness(values: dict[str, Tensor], tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean gate and the share of closed gates, each [layer, head], over some tokens, bool [batch, query].

    A gate that heads share is one head.
    """
    chosen = [gates[tokens.to(gates.device)].float().cpu() for gates in values.values()]
    mean = torch.stack([one.mean((0, 2)) for one in chosen])
    return mean, torch.stack([(one < CLOSED).float().mean((0, 2)) for one in chosen])


def _keep(found: dict[str, Tensor], path: str, of: Any) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
        found[path] = of(out.detach())

    return hook


def _packed_values(dim: int) -> Any:
    return lambda out: torch.sigmoid(out.unflatten(-1, (-1, 2, dim))[..., 1, :].float())
