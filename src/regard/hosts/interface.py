"""The tier of transformers' AttentionInterface: a name of our own, set on the model's configurations while somebody listens.

Private surface of transformers used here: `PreTrainedConfig._attn_implementation_internal`, the `_global_mapping` of
its two interfaces (there is no public way to take a name back), and the `eager_attention_forward` of a model's file.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from ..core.attend import attend
from ..core.mask import Mask
from ..core.operands import Operands
from .recipe import Recipe, RecipeTensor
from .refuse import Refusal

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
    "indices": ("selected keys", "run the model without its sparse attention, or exclude it"),
    "block_indices": ("selected blocks of keys", "exclude this model"),
    "cache": ("a paged cache", "generate with a dynamic or static cache"),
    "sinks": ("sink logits per query", "exclude this model"),
}
"""Arguments of transformers' interface that a `Call` has no place for: what they are, and what to do."""
_taps: "WeakKeyDictionary[nn.Module, Tap]" = WeakKeyDictionary()
_native: dict[int, str] = {}
"""The implementation that a listening configuration had, by its id."""


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
        from transformers.masking_utils import AttentionMaskInterface
        from transformers.modeling_utils import AttentionInterface

        modules = list(self._model.modules())
        original = [config._attn_implementation_internal for config in self._configs]
        try:
            AttentionInterface.register(NAME, _attention)
            AttentionMaskInterface.register(NAME, _mask)
            for module in modules:
                _taps[module] = tap
            for config, name in zip(self._configs, original, strict=True):
                _native[id(config)] = name
                config._attn_implementation_internal = NAME
            yield
        finally:
            for config, name in zip(self._configs, original, strict=True):
                config._attn_implementation_internal = name
                _native.pop(id(config), None)
            for module in modules:
                _taps.pop(module, None)
            if not _native:
                AttentionInterface._global_mapping.pop(NAME, None)
                AttentionMaskInterface._global_mapping.pop(NAME, None)


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

    make = ALL_MASK_ATTENTION_FUNCTIONS[_native[id(config)]]
    # A static cache gives its offset as a tensor, which it counts up in place before the recipe is read.
    offsets = {name: int(arguments.get(name, 0)) for name in ("q_offset", "kv_offset")}
    recipe = Recipe(make, {**arguments, **offsets, "config": config}, int(arguments["kv_length"]))
    return RecipeTensor.wrap(recipe)


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, Tensor | None]:
    native = _native[id(module.config)]
    recipe = attention_mask.recipe if isinstance(attention_mask, RecipeTensor) else None
    forward = _host(module, native)
    tap = _taps.get(module)
    if tap is None:  # a stranger that shares its configuration object with a model that is listened to
        given = recipe.native() if recipe is not None else attention_mask
        return forward(module, query, key, value, given, **kwargs)
    _refuse(f"{tap.path(module)} ({type(module).__name__})", attention_mask, kwargs)
    mask = _core_mask(module, query, key, recipe, attention_mask, native, kwargs.get("is_causal"))
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
            if recipe is not None and native == "sdpa" and _table_size(mask) > HOST_TABLE:
                tap.note(OWN_KERNEL)
                out = attend(op)[0]
                kept.append((out.transpose(1, 2).contiguous(), None))
                return out
            given = recipe.native() if recipe is not None else attention_mask
            with tap.mute():
                kept.append(forward(module, query, key, value, given, **kwargs))
        return kept[0][0].transpose(1, 2)

    gives = GIVES | {"bias"} if bias is not None and bias.shape[-2] > 1 else GIVES
    output = tap.attend(module, op, host, "interface", gives, recipe)
    if output is None:
        host()
        return kept[0]
    return output.transpose(1, 2).contiguous(), None


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
    if recipe is not None:
        mask = recipe.mask
        mask = mask if mask.k_len == shape[2] else mask.narrow((0, shape[2]))
        if (mask.q_len, mask.k_len) != shape[1:]:
            raise Refusal(f"a mask for {mask.q_len} x {mask.k_len} came to an attention of {shape[1]} x {shape[2]}")
        return replace(mask, batch=shape[0])
    base = Mask(*shape, query.device)
    if given is not None:
        return replace(base, table=given[..., : shape[2]])
    causal = is_causal if is_causal is not None else getattr(module, "is_causal", True)
    # None means "causal if the module is", top-left, to every implementation but the eager one.
    return replace(base, causal=bool(causal) and native != "eager" and shape[1] > 1)


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
