"""Designs that put another attention into a model: how they are declared, and how they get in and out.

A design is told twice: as a fast function, which the model trains and runs by, and as edits in the core's vocabulary, by which
`regard.attach` measures and changes the same attention.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from ..core.call import Call, Site
from ..core.effects import Effect, Out, Rewrite, Stage
from ..core.effects.effect import cut_heads
from ..core.protocols import Causality, Edit, Terms
from ..core.terms import Block, Lse
from ..core.where import Where
from ..hosts.tap import DESIGN
from .stored import designs, drop, keep

NAME = "regard_design"
"""The implementation that the configuration of a model with a design names."""
_BEFORE = "attention_before_design"
D = TypeVar("D", bound="AttentionDesign")


class Given(NamedTuple):
    """What a module hands to its attention: q [batch, head, query, dim], k and v [batch, kv_head, key, ...].

    `mask` is broadcastable to [batch, head, query, key]: bool, True where a query sees a key, or float, added to scores.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor
    scale: float
    dropout: float

    @property
    def seen(self) -> Tensor:
        """Which keys queries see, bool, broadcastable to [batch, head, query, key]."""
        return self.mask if self.mask.dtype == torch.bool else self.mask > torch.finfo(self.mask.dtype).min / 2

    def each_head(self, tensor: Tensor) -> Tensor:
        """Return keys or values [batch, head, key, ...], once for each query head."""
        return tensor.repeat_interleave(self.q.shape[1] // tensor.shape[1], 1)

    def scores(self) -> Tensor:
        """Return scores [batch, head, query, key] in float32 or better, -inf where a query does not see a key."""
        scores = self.scale * (self.q @ self.each_head(self.k).transpose(-1, -2))
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if self.mask.dtype != torch.bool:
            scores = scores + self.mask
        return scores.masked_fill(~self.seen, float("-inf"))

    def softmax(self) -> Tensor:
        """Return the output [batch, head, query, value_dim] of plain attention."""
        return nn.functional.scaled_dot_product_attention(
            self.q, self.each_head(self.k), self.each_head(self.v), self.mask, self.dropout, scale=self.scale
        )

    def sum(self, weights: Tensor) -> Tensor:
        """Return the output [batch, head, query, value_dim] of weights [batch, head, query, key]."""
        weights = nn.functional.dropout(weights, self.dropout)
        return weights.to(self.v.dtype) @ self.each_head(self.v)


class Heads(NamedTuple):
    """The heads of an attention module: how many there are for queries, how many for keys and values, and their size."""

    query: int
    kv: int
    dim: int


class AttentionDesign(ABC):
    """An attention that a model can have in place of softmax attention; subclasses are frozen dataclasses of plain data."""

    def learnt(self, heads: Heads) -> dict[str, Tensor]:
        """Return the first values of what a module of such heads learns, by name; none by default."""
        return {}

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @abstractmethod
    def attend(self, given: Given, learnt: "Learnt") -> Tensor:
        """Return the output [batch, head, query, value_dim]."""

    @abstractmethod
    def edits(self, learnt: "Learnt") -> tuple[Edit, ...]:
        """Return what makes softmax attention this one, in the core's vocabulary."""

    def put(self, model: nn.Module) -> None:
        """Put the design into a model."""
        apply(model, self)


class Learnt(nn.Module):
    """What a design has learnt in one attention module, of which it is a child, so that it trains, moves and is saved with it."""

    def __init__(self, design: AttentionDesign, heads: Heads, like: Tensor) -> None:
        super().__init__()
        self.design = design
        for name, value in design.learnt(heads).items():
            self.register_parameter(name, nn.Parameter(value.to(like)))

    def __getitem__(self, name: str) -> Tensor:
        return self.get_parameter(name)

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The same attention in the core's vocabulary."""
        return self.design.edits(self)


class _Here(Where):
    """Every site that has the design, whatever its part and role."""

    def at(self, site: Site) -> bool:
        return True


_HERE = _Here()
Plan = Callable[[Call], Generator[Terms, dict[str, Any], Effect | None]]


@dataclass(frozen=True)
class Planned:
    """An edit of all heads and rows of a call, from a function that plans it."""

    stage: Stage
    planned: Plan
    where: Where = _HERE
    causality: Causality = "row"

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        """Plan the effect."""
        return self.planned(call)


def always(stage: Stage, effect: Callable[[Call], Effect]) -> Planned:
    """Return the edit whose effect asks nothing of the attention."""

    def planned(call: Call) -> Generator[Terms, dict[str, Any], Effect | None]:
        yield {}
        return effect(call)

    return Planned(stage, planned)


def times_sum() -> Planned:
    """Return the edit that takes the division by the row's sum back: the exponential of the log-sum-exp, for each row."""

    def planned(call: Call) -> Generator[Terms, dict[str, Any], Effect | None]:
        got = yield {"lse": Lse()}
        return Out(got["lse"].exp()[..., None])

    return Planned("outputs", planned)


def rewritten(law: Callable[[Tensor, Tensor], Tensor]) -> Planned:
    """Return the edit that puts weights through `law(weights, lse)`, where keys that a query sees not get 0 after it.

    Shapes: weights [batch, head, query, key], lse [batch, head, query, 1], the log-sum-exp of the scores that they come from.
    """

    def planned(call: Call) -> Generator[Terms, dict[str, Any], Effect | None]:
        got = yield {"lse": Lse()}

        def rows(weights: Tensor, block: Block) -> Tensor:
            assert block.seen is not None
            lse = cut_heads(got["lse"], block.heads)[:, :, slice(*block.rows), None]
            return law(weights, lse).masked_fill(~block.seen, 0.0)

        return Rewrite(rows)

    return Planned("weights", planned)


def apply(model: nn.Module, design: D, layers: Collection[int] | None = None) -> D:
    """Give attention modules of a model another attention, in training, inference and under a lens, and return the design.

    `layers` are those of the modules, by their own numbers from 0, None for all; the others attend by softmax as before.

    The model is one of transformers that attends through its AttentionInterface; what the design learns starts anew, and the
    optimiser is made after it. Raises ValueError for other models, for one that has such a design, while a lens listens, and if
    the design learns something and nothing in the model tells the type and device of it.
    """
    from transformers import PreTrainedModel

    if any(isinstance(one, AttentionDesign) for one in designs(model)):
        raise ValueError("this model has an attention design already: remove it first")
    modules = _attention_modules(model)
    if not modules or not (isinstance(model, PreTrainedModel) and model._can_set_attn_implementation()):
        raise ValueError(
            f"{type(model).__name__} does not attend through transformers' AttentionInterface, which attention designs need"
        )
    configs = {id(module.config): module.config for module in modules}
    if any(config._attn_implementation == "regard" for config in configs.values()):
        raise ValueError("a lens listens to this model: put a design into it between the lens's contexts")
    _register()
    chosen = [module for module in modules if layers is None or module.layer_idx in layers]
    learnt = [_learnt(design, module, model) for module in chosen]  # all of it before the model changes
    for module, own in zip(chosen, learnt, strict=True):
        setattr(module, DESIGN, own)
    for config in configs.values():
        setattr(config, _BEFORE, config._attn_implementation)
        config._attn_implementation_internal = NAME  # the setter would change configurations within this one, too
    keep(model, design)
    return design


def remove(model: nn.Module) -> None:
    """Take the design out of a model again, which then attends as before, bit by bit; raises ValueError if it has none."""
    modules = _attention_modules(model)
    if not any(hasattr(module, DESIGN) for module in modules):
        raise ValueError("this model has no attention design")
    for module in modules:
        if hasattr(module, DESIGN):
            delattr(module, DESIGN)
        if hasattr(module.config, _BEFORE):
            module.config._attn_implementation_internal = getattr(module.config, _BEFORE)
            delattr(module.config, _BEFORE)
    drop(model, AttentionDesign)


def like_weights(module: nn.Module, model: nn.Module) -> Tensor:
    """Return an empty tensor of the type and on the device that new parameters of a module of a model are to have.

    Quantised weights are integers, and offloaded ones are on the meta device between passes: other ones of the module tell, or
    else of the model. Raises ValueError where there are none.
    """
    here = [parameter for parameter in module.parameters() if not parameter.is_meta]
    loaded = [*here, *(parameter for parameter in model.parameters() if not parameter.is_meta)]
    found = next((parameter for parameter in loaded if parameter.is_floating_point()), None)
    if found is None:
        raise ValueError(
            f"what a design learns is of the type of the model's weights, and {type(model).__name__} has none in floating point "
            "that are on a device: leave some of its modules as they are when it is quantised or offloaded"
        )
    return torch.empty(0, dtype=found.dtype, device=loaded[0].device)


def _learnt(design: AttentionDesign, module: nn.Module, model: nn.Module) -> Learnt:
    learnt = Learnt(design, _heads(module), torch.empty(0))
    return learnt.to(like_weights(module, model)) if any(True for _ in learnt.parameters()) else learnt


def _attention_modules(model: nn.Module) -> list[Any]:
    """Return the modules whose forward pass asks transformers' interface for an implementation."""
    return [
        module
        for module in model.modules()
        if hasattr(module, "config") and "ALL_ATTENTION_FUNCTIONS" in _names(type(module).forward)
    ]


def _names(function: Callable[..., Any]) -> tuple[str, ...]:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code.co_names if code is not None else ()


def _heads(module: Any) -> Heads:
    config = module.config
    query = config.num_attention_heads
    dim = getattr(module, "head_dim", None) or getattr(config, "head_dim", None) or config.hidden_size // query
    return Heads(query, getattr(config, "num_key_value_heads", None) or query, dim)


def _register() -> None:
    from transformers.masking_utils import AttentionMaskInterface
    from transformers.modeling_utils import AttentionInterface

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _mask)


def _mask(**arguments: Any) -> Tensor:
    """Return the bool mask of transformers, which leaves none out."""
    from transformers.masking_utils import sdpa_mask

    skips = {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    return cast(Tensor, sdpa_mask(**{**arguments, **skips}))


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    learnt: Learnt | None = getattr(module, DESIGN, None)
    for name in ("softcap", "s_aux", "position_bias"):
        if others.get(name) is not None:
            raise ValueError(f"{type(module).__name__} attends with {name}, which attention designs do not know")
    if attention_mask is None:
        causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
        attention_mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=query.device)
        attention_mask = attention_mask.tril() if causal and query.shape[2] > 1 else attention_mask
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    given = Given(query, key, value, attention_mask[..., : key.shape[2]], scale, dropout)
    out = given.softmax() if learnt is None else learnt.design.attend(given, learnt)
    return out.transpose(1, 2).contiguous(), None
