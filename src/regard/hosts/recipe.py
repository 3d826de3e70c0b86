"""transformers' attention masks, kept as recipes on their way from the mask interface to the attention interface."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..core.mask import Mask
from .refuse import Refusal

_KEPT = {"size", "dim", "numel", "is_floating_point", "__repr__", "__len__"}


@dataclass(frozen=True, eq=False)
class Recipe:
    """The arguments of one mask, as transformers' mask interface gives them, and what the host would have made of them.

    `make(**arguments)` builds the host's own mask, which may be None. `keys` is the number of keys that a model kept of
    it.
    """

    make: Callable[..., Tensor | None]
    arguments: dict[str, Any]
    keys: int
    made: dict[str, Tensor | None] = field(default_factory=dict)

    def native(self) -> Tensor | None:
        """Return the mask as the host's own implementation gets it, built once."""
        if "native" not in self.made:
            self.made["native"] = self.make(**self.arguments)
        mask = self.made["native"]
        return mask[..., : self.keys] if isinstance(mask, Tensor) else mask

    def dense(self) -> Tensor:
        """Return the mask as a tensor, also where the host would do without."""
        skips = {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
        mask = self.make(**{**self.arguments, **skips})
        if not isinstance(mask, Tensor):
            raise Refusal(
                f"the mask of this model's attention is a {type(mask).__name__}, for one kernel only: load the model with "
                "attn_implementation='sdpa'"
            )
        return mask[..., : self.keys]

    @property
    def dtype(self) -> torch.dtype:
        """The host's mask is of this type: eager attention adds its own to the scores."""
        from transformers.masking_utils import eager_mask

        dtype: torch.dtype = self.arguments.get("dtype", torch.float32) if self.make is eager_mask else torch.bool
        return dtype

    @property
    def q_index(self) -> int:
        """Index in the run of the first query, padding included."""
        return int(self.arguments.get("q_offset", 0))

    @property
    def k_index(self) -> int:
        """Index in the run of the first key, padding included."""
        return int(self.arguments.get("kv_offset", 0))

    def tokens(self) -> Tensor | None:
        """Return which tokens of the run are real, [batch, token] bool; None if nothing says that any is not."""
        mask: Tensor | None = self.arguments.get("attention_mask")
        return mask.bool() if mask is not None and mask.ndim == 2 else None

    @cached_property
    def mask(self) -> Mask:
        """Return the recipe in the core's terms."""
        from transformers.masking_utils import bidirectional_mask_function, causal_mask_function

        function = self.arguments.get("mask_function", causal_mask_function)
        device = torch.device(self.arguments.get("device", "cpu"))
        base = Mask(self.arguments["batch_size"], self.arguments["q_length"], self.keys, device)
        if self.arguments.get("use_vmap"):  # a user's function may not take whole index tensors
            return replace(base, table=self.dense())
        keys, tokens = None, self.tokens()
        if tokens is not None:
            missing = self.k_index + self.keys - tokens.shape[1]
            keys = torch.nn.functional.pad(tokens, (0, max(missing, 0)))[:, self.k_index : self.k_index + self.keys]
            keys = None if bool(keys.all()) else keys
        if function is bidirectional_mask_function:
            return replace(base, keys=keys)
        if function is causal_mask_function:
            return replace(base, keys=keys, causal=True, offset=self.q_index - self.k_index)
        return replace(
            base, keys=keys, function=function, reach=self._reach(), q_start=self.q_index, k_start=self.k_index
        )

    def _reach(self) -> tuple[int, int] | None:
        """Return how far back and ahead the mask of a window or chunk lets a query see at most; None if nothing bounds it."""
        size = self.arguments.get("local_size")
        # Blocks in which every token sees every other, as of an image, are joined to a window by "or".
        if (
            size is None
            or getattr(self.arguments["mask_function"], "__qualname__", "") != "and_masks.<locals>.and_mask"
        ):
            return None
        return size, size if "allow_is_bidirectional_skip" in self.arguments else 0


class RecipeTensor(Tensor):
    """A mask [batch, 1, query, key] that takes no memory and carries its recipe.

    Moving it, laying it out anew and cropping its keys keep the recipe; any other operation gets the dense mask that the
    host would have made.
    """

    recipe: Recipe

    @classmethod
    def wrap(cls, recipe: Recipe) -> "RecipeTensor":
        """Make the stand-in for a recipe."""
        arguments = recipe.arguments
        shape = (arguments["batch_size"], 1, arguments["q_length"], recipe.keys)
        one = torch.ones((), dtype=recipe.dtype, device=arguments.get("device", "cpu"))
        tensor = torch.Tensor._make_subclass(cls, one.expand(shape))
        tensor.recipe = recipe
        return tensor

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        with torch._C.DisableTorchFunctionSubclass():
            if name in _KEPT or name == "__get__":
                return func(*args, **kwargs)
            if isinstance(args[0], cls):
                recipe = args[0].recipe
                if name == "__getitem__" and (keys := _cropped(args[1], recipe.keys)) is not None:
                    return cls.wrap(replace(recipe, keys=keys))
                if name == "contiguous":
                    return args[0]
                if name == "to" and not any(
                    isinstance(a, torch.dtype) and a != recipe.dtype for a in (*args, *kwargs.values())
                ):
                    device = func(args[0].new_empty(()).as_subclass(Tensor), *args[1:], **kwargs).device
                    if device == args[0].device:
                        return args[0]
            return func(*_densify(args), **{key: _densify(value) for key, value in kwargs.items()})


def _cropped(index: Any, keys: int) -> int | None:
    """Return how many keys an index leaves if it does nothing but cut off the last ones."""
    parts = index if isinstance(index, tuple) else (index,)
    *others, last = parts
    whole = all(part is Ellipsis or part == slice(None) for part in others if not isinstance(part, Tensor))
    if not whole or any(isinstance(part, Tensor) for part in others) or not isinstance(last, slice):
        return None
    reaches_keys = len(parts) == 4 or Ellipsis in others
    if not reaches_keys or last.start not in (None, 0) or last.step not in (None, 1):
        return None
    return len(range(keys)[last])


def _densify(value: Any) -> Any:
    if isinstance(value, RecipeTensor):
        return value.recipe.dense()
    if isinstance(value, (tuple, list)):
        return type(value)(_densify(item) for item in value)
    return value
