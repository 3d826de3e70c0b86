"""The tier of transformers' AttentionInterface: a name of our own, set on the model's configurations while somebody listens.

Private surface of transformers used here: `PreTrainedConfig._attn_implementation_internal`, the `_global_mapping` of
its two interfaces (there is no public way to take a name back), and the `eager_attention_forward` of a model's file.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..core.attend import attend
from ..core.mask import Mask
from ..core.operands import Operands
from .recipe import Recipe, RecipeTensor
from .refuse import Refusal
from .shared import Shared
from .stance import as_before

if TYPE_CHECKING:
    from .tap import Tap

NAME = "regard"
GIVES = frozenset({"q", "k", "v", "scores", "weights", "lse"})
HOST_TABLE = 1 << 22
"""Elements per example of a mask table that the host's fused implementation may make for itself; the core needs none."""
OWN_KERNEL = (
    "long padded or windowed inputs are attended by regard's own kernel, which needs no [query, key] mask where the model's "
    "makes one: outputs may differ by rounding"
)
_UNKNOWN = {
    "indices": ("selected keys", "run it with attn_implementation='sdpa'"),
    "block_indices": ("selected blocks of keys", "exclude this model"),
    "cache": ("a paged cache", "generate with a dynamic or static cache"),
    "sinks": ("sink logits per query", "exclude this model"),
}
"""Arguments of transformers' interface that a `Call` has no place for: what they are, and what to do."""
_taps: "WeakKeyDictionary[nn.Module, Tap]" = WeakKeyDictionary()
_lock = Lock()


@dataclass
class _Switched:
    """A configuration that has our name for now: the one it had, and how many listeners there are to models of it."""

    config: Any
    name: str
    listeners: int = 0


_switched: dict[int, _Switched] = {}
"""Configurations that are switched to our name, by their id."""


class Interface:
    """Taps all modules of a model that attend through transformers' interface."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._configs = _switchable(model)

    @contextmanager
    def listening(self, tap: "Tap") -> Iterator[None]:
        """Route the model's attention through the tap."""
        if not self._configs:
            yield
            return
        modules = list(self._model.modules())
        for config in self._configs:
            _native(config)
        with _registered.wanted():
            try:
                for module in modules:
                    _taps[module] = tap
                with _lock:
                    for config in self._configs:
                        _switch(config)
                yield
            finally:
                with _lock:
                    for config in self._configs:
                        _switch_back(config)
                for module in modules:
                    _taps.pop(module, None)

    def check(self) -> None:
        """Raise ValueError if somebody chose another implementation while this one listens."""
        for config in self._configs:
            name = config._attn_implementation_internal
            if name != NAME:
                raise Refusal(
                    f"the attention of this model was switched to {name!r} while a lens listened, which would hear nothing: "
                    "choose an implementation between the lens's contexts"
                )


def _register() -> Callable[[], None]:
    from transformers.masking_utils import AttentionMaskInterface
    from transformers.modeling_utils import AttentionInterface

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _mask)

    def undo() -> None:
        AttentionInterface._global_mapping.pop(NAME, None)
        AttentionMaskInterface._global_mapping.pop(NAME, None)

    return undo


_registered = Shared(_register)


def _switch(config: Any) -> None:
    if id(config) not in _switched:
        _switched[id(config)] = _Switched(config, config._attn_implementation_internal)
        config._attn_implementation_internal = NAME
    _switched[id(config)].listeners += 1


def _switch_back(config: Any) -> None:
    switched = _switched[id(config)]
    switched.listeners -= 1
    if switched.listeners == 0:
        if config._attn_implementation_internal == NAME:  # else somebody has chosen another one since
            config._attn_implementation_internal = switched.name
        del _switched[id(config)]


def _native(config: Any) -> str:
    """Return the implementation that a configuration has, or had before it was switched to our name."""
    switched = _switched.get(id(config))
    name = config._attn_implementation_internal if switched is None else switched.name
    if name == NAME:
        raise Refusal(
            "a configuration was copied while a lens listened to its model: set the copy's attention implementation anew, "
            "for instance by set_attn_implementation('sdpa')"
        )
    return str(name)


def _switchable(model: nn.Module) -> list[Any]:
    """Return the configurations whose models let their attention implementation be set, each once."""
    if "transformers" not in sys.modules:  # then no module can be one of its models
        return []
    from transformers import PreTrainedModel

    found: dict[int, Any] = {}
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module._can_set_attn_implementation():
            pending = [module.config]
            while pending:
                config = pending.pop()
                found[id(config)] = config
                pending += [sub for key in config.sub_configs if (sub := getattr(config, key, None)) is not None]
    return [config for config in found.values() if config._attn_implementation_internal is not None]


def _mask(*, config: Any, **arguments: Any) -> RecipeTensor:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    make = ALL_MASK_ATTENTION_FUNCTIONS[_native(config)]
    # A static cache gives its offset as a tensor, which it counts up in place before the recipe is read.
    offsets = {name: int(arguments.get(name, 0)) for name in ("q_offset", "kv_offset")}
    recipe = Recipe(make, {**arguments, **offsets, "config": config}, int(arguments["kv_length"]))
    return RecipeTensor.wrap(recipe)


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    native = _native(module.config)
    recipe = attention_mask.recipe if isinstance(attention_mask, RecipeTensor) else None
    forward = _host(module, native)
    tap = _taps.get(module)
    # A stranger shares its configuration object with a model that is listened to.
    if tap is None or tap.elsewhere:
        given = recipe.native() if recipe is not None else attention_mask
        return forward(module, query, key, value, given, **kwargs)
    whole = recipe
    if kwargs.get("indices") is not None and native in ("eager", "sdpa"):
        whole, attention_mask = None, _selected(attention_mask, recipe, kwargs.pop("indices"))
    if whole is not None and whole.mask.plain and kwargs.get("is_causal") is False and whole.native() is None:
        kwargs["is_causal"] = getattr(module, "is_causal", True)  # it takes the stand-in for a mask of its own
    _refuse(f"{tap.path(module)} ({type(module).__name__})", attention_mask, kwargs)
    mask = _core_mask(module, query, key, whole, attention_mask, native, kwargs.get("is_causal"))
    scale, bias = kwargs.get("scaling"), kwargs.get("position_bias")
    op = Operands(
        query,
        key.expand(query.shape[0], -1, -1, -1),
        value.expand(query.shape[0], -1, -1, -1),
        mask,
        query.shape[-1] ** -0.5 if scale is None else float(scale),
        kwargs.get("softcap"),
        kwargs.get("s_aux"),
        bias,
        dropout=float(kwargs.get("dropout") or 0.0),
    )
    kept: list[tuple[Tensor, Tensor | None]] = []

    def host() -> Tensor:
        if not kept:
            if whole is not None and native == "sdpa" and _table_size(mask) > HOST_TABLE:
                tap.note(OWN_KERNEL)
                out = attend(op)[0]
                kept.append((out.transpose(1, 2).contiguous(), None))
                return out
            given = whole.native() if whole is not None else attention_mask
            with tap.mute(), as_before() if native == "flex_attention" else nullcontext():
                kept.append(forward(module, query, key, value, given, **kwargs))
        return kept[0][0].transpose(1, 2)

    gives = GIVES | {"bias"} if bias is not None and bias.shape[-2] > 1 else GIVES
    output = tap.attend(module, op, host, "interface", gives, recipe)
    if output is None:
        host()
        return kept[0]
    return output.transpose(1, 2).contiguous(), None


def _selected(given: Tensor | None, recipe: Recipe | None, indices: Tensor) -> Tensor | None:
    """Mask all but selected keys, [batch, query, selected], as models do themselves before the attention that is theirs."""
    mask = given if recipe is None else recipe.native()
    mask = recipe.dense() if recipe is not None and mask is None else mask
    if not isinstance(mask, Tensor):
        return mask
    selected = torch.zeros_like(mask[:, :1], dtype=torch.bool).scatter(-1, indices[:, None].long(), True)
    return mask & selected if mask.dtype == torch.bool else mask.masked_fill(~selected, torch.finfo(mask.dtype).min)


def _refuse(name: str, mask: Any, kwargs: dict[str, Any]) -> None:
    """Raise ValueError for what a module hands over and a `Call` cannot carry."""
    for argument, (what, instead) in _UNKNOWN.items():
        if kwargs.get(argument) is not None:
            raise Refusal(f"{name} attends with {what} ({argument!r}), which regard cannot follow yet: {instead}")
    if mask is not None and not isinstance(mask, Tensor):
        raise Refusal(
            f"{name} was given a {type(mask).__name__} as its mask, which says what is masked to one kernel only: give "
            "attention_mask as a tensor"
        )
    if isinstance(mask, Tensor) and mask.is_nested:
        raise Refusal(f"{name} was given a nested tensor as its mask: pad the inputs instead")


def _table_size(mask: Mask) -> int:
    """Return the elements, per example, of the table that the host's fused implementation makes of a mask; 0 if it makes none."""
    plain = mask.plain and mask.keys is None and not (mask.causal and 1 < mask.q_len < mask.k_len)
    return 0 if plain else mask.q_len * mask.k_len


def _core_mask(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    recipe: Recipe | None,
    given: Tensor | None,
    native: str,
    is_causal: bool | None,
) -> Mask:
    """Say in the core's terms what the host's implementation would mask."""
    shape = (query.shape[0], query.shape[2], key.shape[2])
    causal = bool(is_causal if is_causal is not None else getattr(module, "is_causal", True))
    if recipe is not None and recipe.mask.plain and recipe.mask.causal != causal and recipe.native() is None:
        recipe = given = None  # the host leaves it to the module, which says otherwise
    if recipe is not None:
        mask = recipe.mask
        if mask.q_len == 1 and mask.plain and not mask.causal:  # one row for all queries
            mask = replace(mask, q_len=shape[1])
        mask = mask if mask.k_len == shape[2] else mask.narrow((0, shape[2]))
        if (mask.q_len, mask.k_len) != shape[1:]:
            raise Refusal(f"a mask for {mask.q_len} x {mask.k_len} came to an attention of {shape[1]} x {shape[2]}")
        return replace(mask, batch=shape[0])
    base = Mask(*shape, query.device)
    if given is not None:
        return replace(base, table=given[..., : shape[2]])
    # None means "causal if the module is", top-left, to every implementation but the eager one.
    return replace(base, causal=causal and native != "eager" and shape[1] > 1)


def _host(module: nn.Module, native: str) -> Callable[..., tuple[Tensor, Tensor | None]]:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if native != "eager":
        forward: Callable[..., tuple[Tensor, Tensor | None]] = ALL_ATTENTION_FUNCTIONS[native]
        return forward
    for kind in type(module).__mro__:
        eager = getattr(sys.modules[kind.__module__], "eager_attention_forward", None)
        if eager is not None:
            return eager
    raise Refusal(
        f"{type(module).__name__} has no eager attention of its own; load the model with attn_implementation='sdpa'"
    )
