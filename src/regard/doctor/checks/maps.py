"""The maps that the library hands out agree with ours, or it is said which of the two is wrong.

Which one is wrong is not a matter of opinion: weights are right if, times the values, they give what the model computes
when nobody asks for maps, and if they put nothing on keys that the mask hides.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...core import dense
from ...core.call import Call, Site
from ...lens import Lens
from ...lens.outputs import tensors
from ..finding import Finding
from ..implementation import eager, implementation
from ..passes import apart, run, tolerance, watch, weights

NAME = "the library's maps agree"
FIELDS = {
    "attentions": (None, "self"),
    "encoder_attentions": ("encoder", "self"),
    "decoder_attentions": (None, "self"),
    "cross_attentions": (None, "cross"),
}
"""Where transformers hands out maps: of which part (None is the one that writes the output), and in which role."""
Given = Mapping[tuple[str | None, str], list[Tensor]]
"""The library's maps by part and role, in the order of the layers."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """One call: our map, what the mask hides, the values per head (None where attention is written out), the model's output."""

    site: Site
    ours: Tensor
    hidden: Tensor
    v: Tensor | None
    out: Tensor

    def off(self, weights: Tensor) -> float:
        """Return how far weights times values are from what the model computes, in shares of its largest value."""
        if self.v is None:
            return apart([weights.double()], [self.out.flip(-1).double()])  # there the output is the map, mirrored
        return apart([weights.double() @ self.v], [self.out.double()])


def check(model: nn.Module, lens: Lens, x: Mapping[str, Any]) -> Finding:
    """Ask the library for maps, as the model is and, where that gives none, with its eager attention."""
    plain = tensors(run(model, x))
    how = implementation(model)
    try:
        asked = _asked(model, x)
    except TypeError:
        return Finding(NAME, "not applicable", None, "this model has no output_attentions")
    given: Given = {} if asked is None else _given(asked)
    moved = 0.0 if asked is None else apart(tensors(asked)[:1], plain[:1])
    as_it_is = bool(given)
    if not given:
        with eager(model):
            asked = _asked(model, x)
        given = {} if asked is None else _given(asked)
        how = "eager"
    if not given:
        return Finding(NAME, "not applicable", None, "the library hands out no maps of this model")
    return _compared(model, x, given, moved, how, as_it_is)


def _asked(model: nn.Module, x: Mapping[str, Any]) -> Any:
    """Return the output with maps; None where the library says that it has none, or not in this implementation."""
    try:
        return run(model, x, output_attentions=True)
    except ValueError:
        return None


def _given(output: Any) -> Given:
    """Return the maps that an output holds."""
    found = {}
    for field, where in FIELDS.items():
        maps = [one for one in getattr(output, field, None) or [] if isinstance(one, Tensor)]
        if maps:
            found[where] = maps
    return found


def _compared(
    model: nn.Module,
    x: Mapping[str, Any],
    given: Given,
    moved: float,
    how: str,
    as_it_is: bool,
) -> Finding:
    limit = tolerance(model)
    pairs = _pairs(_seen(model, x), given)
    if isinstance(pairs, str):
        return Finding(NAME, "not applicable", None, pairs)
    worst = max(_difference(theirs, one.ours) for one, theirs in pairs)
    if worst <= limit and moved <= limit:
        said = f"{len(pairs)} maps are ours ({how}), and asking for them moves nothing"
        if not as_it_is:
            said = f"{len(pairs)} maps of the eager implementation are ours; as it is loaded, the model hands out none"
        return Finding(NAME, "ok", max(worst, moved), said)
    shown = [f"asking for maps moves the output by {moved:.2g} of its size"] if moved > limit else []
    first, theirs = next(((one, a) for one, a in pairs if _difference(a, one.ours) > limit), pairs[0])
    if worst > limit:
        shown.append(f"maps differ by {worst:.2g}, first at {first.site}")
        shown.append(f"there the library's {_judged(first, theirs)}; ours {_judged(first, first.ours)}")
    right = (_is_right(first, theirs, limit), _is_right(first, first.ours, limit))
    blame = {
        (False, True): "the library is wrong",
        (True, False): "regard is wrong",
        (False, False): "both are wrong",
        (True, True): "the library is wrong" if moved > limit else "both are right for the pass that they are of",
    }[right]
    if how != "eager" and right[1]:
        with eager(model):
            other = _pairs([one for one, _ in pairs], _given(run(model, x, output_attentions=True)))
        if not isinstance(other, str) and other and max(_difference(a, one.ours) for one, a in other) <= limit:
            shown.append("loaded with attn_implementation='eager', its maps are ours")
    said = f"{blame} ({how}): {'; '.join(shown)}"
    return Finding(NAME, "failed", max(worst, moved), said, "ours" if not right[1] else "the model's")


def _seen(model: nn.Module, x: Mapping[str, Any]) -> list[_Seen]:
    found: list[_Seen] = []

    def see(call: Call) -> Tensor | None:
        textbook = dense.maps(call.op)
        v = textbook.v.double() if "v" in call.site.gives else None
        found.append(_Seen(call.site, weights(call), ~textbook.seen, v, call.host()))
        return None

    watch(model, x, see)
    return found


def _pairs(seen: list[_Seen], given: Given) -> list[tuple[_Seen, Tensor]] | str:
    """Return our calls beside the library's maps, or why they cannot be laid side by side."""
    pairs: list[tuple[_Seen, Tensor]] = []
    for (part, role), maps in given.items():
        ours = [
            one for one in seen if one.site.role == role and (one.site.main if part is None else one.site.part == part)
        ]
        if len(ours) != len(maps):
            return f"the library hands out {len(maps)} maps of {role}-attention, and {len(ours)} calls are heard"
        for one, theirs in zip(ours, maps, strict=True):
            if theirs.shape != one.ours.shape:
                return (
                    f"the library's map at {one.site} is {list(theirs.shape)}, and the attention {list(one.ours.shape)}"
                )
            pairs.append((one, theirs))
    return pairs


def _difference(theirs: Tensor, ours: Tensor) -> float:
    return float((theirs.double() - ours.double()).abs().max().nan_to_num(nan=float("inf")))


def _judged(seen: _Seen, weights: Tensor) -> str:
    """Say what speaks for and against a map."""
    hidden = float((weights * seen.hidden).sum(-1).mean())
    later = torch.ones_like(seen.hidden).triu(1 + seen.hidden.shape[-1] - seen.hidden.shape[-2])
    where = "later tokens" if torch.equal(seen.hidden, later) else "tokens that the mask hides"
    least, most = (f"{one:.3g}" for one in weights.double().sum(-1).aminmax())
    sums = least if least == most else f"{least} to {most}"
    return (
        f"puts {hidden:.2g} of its weight on {where}, has rows that sum to {sums}, and, times the values, misses the "
        f"model's output by {seen.off(weights):.1e}"
    )


def _is_right(seen: _Seen, weights: Tensor, limit: float) -> bool:
    return float((weights * seen.hidden).sum(-1).max()) <= limit and seen.off(weights) <= limit
