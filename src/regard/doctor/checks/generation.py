"""Generating with a cache gives what generating without one gives, plain and edited."""

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ...edit import Interpolate
from ...lens import Lens
from ...lens.aside import drawing_alike
from ..finding import Finding
from ..made import special_ids
from ..passes import apart, tolerance

NAME = "generation needs no cache"
NEW = 4
"""Tokens to generate."""


def check(model: nn.Module, lens: Lens, x: Mapping[str, Any]) -> Finding:
    """Generate greedily, with and without a cache, with and without an edit whose rows depend on themselves only."""
    generates: Any = getattr(model, "can_generate", None)
    prompt = {name: value for name, value in x.items() if not name.startswith("decoder")}
    if generates is None or not generates() or not prompt:
        return Finding(NAME, "not applicable", None, "this model does not generate")
    edit = Interpolate("identity", 0.5)
    worst, logits = 0.0, {}
    try:
        steps, chosen = _generated(model, prompt, cache=True)
    except Exception as error:  # no lens is involved
        said = f"this model does not generate from these inputs as language models do: {type(error).__name__}: {error}"
        return Finding(NAME, "not applicable", None, " ".join(said.split())[:300])
    if chosen.ndim != 2 or any(logits.ndim != 2 or len(logits) != len(chosen) for logits in steps):
        return Finding(NAME, "not applicable", None, "this model does not generate a token at a time")
    for what, context in (("plain", nullcontext), ("edited", lambda: lens.edit(edit))):
        with context():
            cached = _generated(model, prompt, cache=True)
            whole = _generated(model, prompt, cache=False)
        off = _apart(cached, whole)
        worst, logits[what] = max(worst, off), list(whole[0])
        if off > tolerance(model):
            said = f"{what} logits with a cache are not those that recomputing everything gives"
            return Finding(NAME, "failed", off, said, "the model's" if what == "plain" else "ours")
    if apart(logits["edited"], logits["plain"]) == 0:
        return Finding(NAME, "failed", 0.0, f"{edit} does not move the logits: edits do not reach this generation")
    return Finding(NAME, "ok", worst, f"{NEW} greedy tokens are alike with a cache and without one, plain and edited")


Generated = tuple[tuple[Tensor, ...], Tensor]
"""The logits of each step, [example, token], and the tokens that were chosen, [example, step]."""


def _generated(model: Any, prompt: Mapping[str, Any], cache: bool) -> Generated:
    ids = prompt.get("input_ids")
    mask = {"attention_mask": torch.ones_like(ids)} if isinstance(ids, Tensor) else {}
    with torch.no_grad(), drawing_alike(model):
        done = model.generate(
            **{**mask, **prompt},
            max_new_tokens=NEW,
            min_new_tokens=NEW,
            do_sample=False,
            num_beams=1,
            pad_token_id=0,
            suppress_tokens=special_ids(model) or None,  # a token of an image would want an image
            use_cache=cache,
            return_dict_in_generate=True,
            output_logits=True,
        )
    return tuple(done.logits), done.sequences[:, -NEW:]


def _apart(cached: Generated, whole: Generated) -> float:
    """Return the largest difference of the logits of steps that came after the same tokens."""
    worst = 0.0
    same = torch.ones(len(whole[1]), dtype=torch.bool, device=whole[1].device)
    for step, (a, b) in enumerate(zip(cached[0], whole[0], strict=True)):
        if not bool(same.any()):
            break
        worst = max(worst, apart([a[same]], [b[same]]))
        same &= cached[1][:, step] == whole[1][:, step]  # near ties may be decided by rounding
    return worst
