"""Gates on what attention gives: each head's output is scaled by a function of the token that asks (arXiv 2505.06708)."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .stored import designs, drop, keep

Kind = Literal["elementwise", "headwise", "head-shared"]
Place = Literal["output", "value", "key", "query", "projected"]
Activation = Literal["sigmoid", "ns-sigmoid", "silu"]

CHILD = "gate_proj"
"""Name of the gate's weights in an attention module."""
_LINEAR: dict[Place, str] = {
    "output": "o_proj",
    "value": "v_proj",
    "key": "k_proj",
    "query": "q_proj",
    "projected": "o_proj",
}


@dataclass(frozen=True, kw_only=True)
class Gate:
    """Attention whose output is gated before heads are mixed: `Y' = Y * sigmoid(x W)`, x the block's input.

    x is [batch, query, hidden], Y [batch, query, head, dim]. A gate reads the current token only, so a key-value cache needs
    nothing new. Sigmoids are taken in float32. Source: arXiv 2505.06708, section 2.2, whose places G1 to G5 are "output",
    "value", "key", "query" and "projected". Raises ValueError for settings that exclude each other.

    Args:
        kind: A gate for each entry of a head's output, one for each head, or the mean of the elementwise logits over heads.
        at: What is gated; "projected" is the output behind `o_proj`, as one head.
        activation: "ns-sigmoid" is 0.5 + 0.5 sigmoid, which cannot close.
        additive: Adds `silu(x W)` to what is gated in place of multiplying.
        inputs: How many of the first entries of x the gate reads: None for all, 0 for a gate that is learnt but the same
            everywhere.
        bias: Whether the logits have a bias, as in models whose `q_proj` has one; always for a gate without inputs.
        preserving: Whether the model computes what it did until the gate is trained: W starts at 0, and the gate is divided by
            its value there (a sigmoid is doubled, as if `o_proj` were). Otherwise W starts as the model's other weights do.
    """

    kind: Kind = "elementwise"
    at: Place = "output"
    activation: Activation = "sigmoid"
    additive: bool = False
    inputs: int | None = None
    bias: bool = False
    preserving: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("elementwise", "headwise", "head-shared") or self.at not in _LINEAR:
            raise ValueError(f"there is no gate of kind {self.kind!r} at {self.at!r}")
        if self.additive and (self.activation != "silu" or self.kind == "headwise"):
            raise ValueError("what is added is silu(x W), for each entry")
        if self.activation == "silu" and self.preserving and not self.additive:
            raise ValueError("silu is 0 at 0: a gate of it preserves nothing, so say preserving=False")
        if self.inputs is not None and self.inputs < 0:
            raise ValueError(f"a gate reads 0 or more entries of its input, not {self.inputs}")

    def put(self, model: nn.Module) -> list[str]:
        """Put a gate into every self-attention of a model of transformers and return their paths.

        Raises ValueError for a model that has gates already, or has no attention module with this projection.
        """
        if any(isinstance(design, Gate) for design in designs(model)):
            raise ValueError("the model has gates already: remove them first")
        found = {path: module for path, module in model.named_modules() if _is_attention(module)}
        if not found:
            raise ValueError(f"{type(model).__name__} has no self-attention with q_proj, k_proj, v_proj and o_proj")
        for module in found.values():
            _Gated(self, module).join(module)
        keep(model, self)
        return list(found)


def remove_gates(model: nn.Module) -> None:
    """Take all gates out of a model; its other weights are as they are. Raises ValueError for a model without gates."""
    if not gated(model):
        raise ValueError("the model has no gates")
    for module in gated(model).values():
        gate = getattr(module, CHILD)
        gate.leave()
        delattr(module, CHILD)
    drop(model, Gate)


def gated(model: nn.Module) -> dict[str, nn.Module]:
    """Return the attention modules of a model that have a gate, by their paths."""
    return {path: module for path, module in model.named_modules() if isinstance(getattr(module, CHILD, None), _Gated)}


def _is_attention(module: nn.Module) -> bool:
    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    return hasattr(module, "head_dim") and all(isinstance(getattr(module, name, None), nn.Module) for name in names)


class _Gated(nn.Linear):
    """The logits of one module's gate, and the hooks by which they act; a Linear, for the usual names of weights."""

    def __init__(self, design: Gate, module: Any) -> None:
        linear = getattr(module, _LINEAR[design.at])
        width = linear.in_features if design.at == "output" else linear.out_features
        heads = 1 if design.at == "projected" else width // module.head_dim
        like, hidden = linear.weight, module.q_proj.in_features
        inputs = hidden if design.inputs is None else min(design.inputs, hidden)
        rows = heads if design.kind == "headwise" else width
        dtype = like.dtype if like.is_floating_point() else torch.float32
        with torch.device("meta"):
            super().__init__(inputs or 1, rows, bias=design.bias or inputs == 0)
        self.in_features = inputs
        self.weight = nn.Parameter(torch.zeros(rows, inputs, device=like.device, dtype=dtype))
        if self.bias is not None:
            self.bias = nn.Parameter(torch.zeros(rows, device=like.device, dtype=dtype))
        if inputs and not design.preserving:
            nn.init.normal_(self.weight, std=getattr(module.config, "initializer_range", 0.02))
        self.design, self.heads = design, heads
        self.x: Tensor | None = None
        self.handles: list[Any] = []

    def join(self, module: Any) -> None:
        """Become a child of an attention module and act in its forward passes."""
        setattr(module, CHILD, self)
        linear = getattr(module, _LINEAR[self.design.at])
        self.handles.append(module.register_forward_pre_hook(self.read, with_kwargs=True))
        if self.design.at == "output":
            self.handles.append(linear.register_forward_pre_hook(self.before))
        else:
            self.handles.append(linear.register_forward_hook(self.behind))

    def leave(self) -> None:
        """Stop acting."""
        for handle in self.handles:
            handle.remove()

    def read(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note the input of the attention module."""
        self.x = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]

    def before(self, linear: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Gate what goes into the projection."""
        return (self.act(args[0]), *args[1:])

    def behind(self, linear: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        """Gate what comes out of the projection."""
        return self.act(out)

    def act(self, y: Tensor) -> Tensor:
        """Gate y [batch, query, head * dim]."""
        assert self.x is not None  # the module's own hook has run
        x, self.x = self.x, None  # or it would be held until the next pass
        values = self.values(self(x[..., : self.in_features].to(self.weight.dtype)))
        whole = y.unflatten(-1, (self.heads, -1))
        if self.design.additive:
            return (whole + values.to(y.dtype)).flatten(-2)
        scale = 1 / _activate(self.design.activation, torch.zeros(())).item() if self.design.preserving else 1.0
        return (whole * (values * scale).to(y.dtype)).flatten(-2)

    def values(self, logits: Tensor) -> Tensor:
        """Return gates [batch, query, head or 1, dim or 1] of logits [batch, query, row], in float32 or better."""
        u = logits.to(torch.promote_types(logits.dtype, torch.float32)).unflatten(-1, (self.heads, -1))
        if self.design.kind == "head-shared":
            u = u.mean(-2, keepdim=True)
        return _activate(self.design.activation, u)


def _activate(activation: Activation, u: Tensor) -> Tensor:
    match activation:
        case "sigmoid":
            return torch.sigmoid(u)
        case "ns-sigmoid":
            return 0.5 + 0.5 * torch.sigmoid(u)
        case "silu":
            return nn.functional.silu(u)
