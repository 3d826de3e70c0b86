"""Which heads see: how far each head's output moves when the image is taken out of the prompt (arXiv 2412.13949)."""

import inspect
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.call import Call
from ..core.effects import Effect, Out, Stage
from ..core.protocols import Causality, Terms
from ..core.where import Where
from ..edit.reinforce import ReinforceHeads
from .lens import Lens

Gone = Literal["removed", "masked"]
_PER_TOKEN = ("input_ids", "attention_mask", "position_ids")


@dataclass(frozen=True, eq=False)
class VisionHeads:
    """Heads that were chosen for each example, and from what.

    Shapes: `divergence` and `activity` [layer, example, head] are how far a head's output at the prompt's last token moves when
    the image goes (Euclidean), before outliers are dropped, and its squared norm without the image; `chosen` [layer, example,
    head] bool. The layers are those of `layers`.
    """

    layers: tuple[int, ...]
    divergence: Tensor
    activity: Tensor
    chosen: Tensor
    alpha: float

    def edit(self, *, last_only: bool = False) -> ReinforceHeads:
        """Return the edit that reinforces the chosen heads as long as it is active; data, so that it can be saved.

        The paper does not say whether the prompt's earlier tokens are scaled: with `last_only` they are not.
        """
        pairs = [(layer, head) for layer in self.layers for head in range(self.chosen.shape[2])]
        chosen = self.chosen.transpose(0, 1).flatten(1)
        return ReinforceHeads(pairs, chosen, self.alpha, since=("prompt_end", -1) if last_only else None)

    def of_token(self, k: int = 4) -> Tensor:
        """Return how much the next token relies on the image (T-VHD): the `k` largest divergences summed over layers, [example].

        The paper does not state `k`.
        """
        return self.divergence.topk(k, dim=-1).values.sum(-1).sum(0)


def default_layers(count: int) -> tuple[int, ...]:
    """Return layer 1 and the last 44 % of `count` layers, as the paper's {1, 18, ..., 31} of 32."""
    return tuple(sorted({1, *range(count - round(0.4375 * count), count)}))


def vision_heads(
    lens: Lens,
    x: Mapping[str, Any],
    *,
    layers: Sequence[int],
    alpha: float = 2.0,
    outliers: bool = True,
    image: Gone = "removed",
    reinforce_text: bool = True,
) -> VisionHeads:
    """Choose the half of each layer's heads that the image moves most, by one pass over the prompt with and without it.

    A layer's heads are chosen when those of the layers before it are reinforced by `alpha` already: with 1 the model is only
    measured. Both prompts are rows of one batch. With `outliers`, heads that the image's absence wakes up (divergence and
    activity both above the layer's mean by more than its standard deviation over heads) are dropped. `image` "removed" deletes
    the image's tokens, "masked" keeps their places and hides them. Whether the paper reinforces the text-only stream as well is
    not stated: `reinforce_text` says. Other edits that are active work in both streams, but heads are compared before those of
    their own attention. Raises ValueError for a prompt without an image, for no layers, and for a layer that there is not.

    Source: arXiv 2412.13949, section 3.
    """
    chooser = _Chooser(tuple(sorted(set(layers))), alpha, outliers, reinforce_text)
    if not chooser.layers:
        raise ValueError("no layers are given to choose heads in")
    extra = {"use_cache": False, "logits_to_keep": 1}
    known = inspect.signature(lens.model.forward).parameters
    both = with_and_without(x, _image_tokens(lens.model.config), image)
    with torch.no_grad(), lens.run(), lens.edit(chooser):
        lens.model(**both, **{name: value for name, value in extra.items() if name in known})
    missing = sorted(set(chooser.layers) - chooser.found.keys())
    if missing:
        raise ValueError(f"the model has no layer {missing[0]} to choose heads in")
    divergence, activity, chosen = (
        torch.stack(values) for values in zip(*(chooser.found[layer] for layer in chooser.layers), strict=True)
    )
    return VisionHeads(chooser.layers, divergence, activity, chosen, alpha)


def choose(divergence: Tensor, activity: Tensor, outliers: bool = True) -> Tensor:
    """Return which heads diverge by more than the median of their layer, [..., head] bool, from both [..., head].

    With `outliers`, a divergence counts as 0 where it and the activity lie above their means by more than their population
    standard deviations. Where many are equal, fewer than half are chosen.
    """
    if outliers:
        divergence = divergence.masked_fill(_beyond(divergence) & _beyond(activity), 0.0)
    return divergence > divergence.quantile(0.5, dim=-1, keepdim=True)


def with_and_without(x: Mapping[str, Any], image_tokens: Sequence[int], image: Gone = "removed") -> dict[str, Any]:
    """Return inputs of twice the rows: the prompts as they are, then without their images, padded on the left.

    Tensors [batch, token] are doubled; others (pixels and their sizes) stay as they are, for there are no more images.
    """
    ids: Tensor = x["input_ids"]
    given = x.get("attention_mask")
    valid = torch.ones_like(ids) if given is None else given
    seen = torch.isin(ids, torch.tensor(list(image_tokens), device=ids.device)) & valid.bool()
    if not bool(seen.any(1).all()):
        raise ValueError("a prompt has no image token, so there is nothing to take away from it")
    kept = valid.bool() & ~seen
    order = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    if image == "removed":
        order = kept.int().argsort(dim=1, stable=True)
    # Any token but an image's may stand where nobody looks.
    filler = ids.gather(1, kept.int().argmax(1, keepdim=True))
    text: dict[str, Tensor] = {}
    for name, values in {**x, "attention_mask": valid}.items():
        if torch.is_tensor(values) and values.shape == ids.shape:
            values = values if name in _PER_TOKEN else values.masked_fill(seen, 0)
            text[name] = values.gather(1, order)
    text["attention_mask"] = kept.gather(1, order).to(valid.dtype)
    text["input_ids"] = torch.where(text["attention_mask"].bool(), text["input_ids"], filler)
    full = {**x, "attention_mask": valid}
    return {name: torch.cat([values, text[name]]) if name in text else values for name, values in full.items()}


class _Chooser:
    """An edit of a batch whose second half are the text-only prompts: chooses in each layer, and reinforces.

    It holds what it found of one pass, so that it is no data as other edits are.
    """

    stage: Stage = "outputs"
    causality: Causality = "sequence"

    def __init__(self, layers: tuple[int, ...], alpha: float, outliers: bool, reinforce_text: bool) -> None:
        self.layers = layers
        self.where = Where(layers=layers)
        self.found: dict[int, tuple[Tensor, Tensor, Tensor]] = {}
        self._alpha, self._outliers, self._reinforce_text = alpha, outliers, reinforce_text

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        yield {}
        rows = torch.arange(call.op.batch, device=call.q.device)
        full, text = call.host()[rows, :, call.qpos.argmax(1)].float().chunk(2)
        divergence, activity = (full - text).norm(dim=-1), text.square().sum(-1)
        chosen = choose(divergence, activity, self._outliers)
        self.found[call.site.layer] = divergence.cpu(), activity.cpu(), chosen.cpu()
        both = torch.cat([chosen, chosen & self._reinforce_text])
        return Out(torch.where(both, self._alpha, 1.0)[:, :, None, None])


def _beyond(values: Tensor) -> Tensor:
    return values > values.mean(-1, keepdim=True) + values.std(-1, correction=0, keepdim=True)


def _image_tokens(config: Any) -> list[int]:
    names = ("image_token_id", "image_token_index", "video_token_id")
    found = [token for name in names if isinstance(token := getattr(config, name, None), int)]
    if not found:
        raise ValueError(f"{type(config).__name__} names no image token, so that images cannot be told from text")
    return found
