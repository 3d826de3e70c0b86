"""One model with the attention patterns of another, and what has to be known before such a swap means anything."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..core.call import Call
from ..core.reduce import Keep
from ..core.terms import Block, Rows, Term
from ..edit import PatchWeights, UniformHeads

if TYPE_CHECKING:
    from .lens import Lens

HeadMap = Sequence[Sequence[int]]
"""For each layer of the recipient and each of its heads, which head of the donor's layer it takes."""


@dataclass(frozen=True)
class _Maps:
    """All weights of a text, [layer, head, query, key]."""

    name = "maps"
    axes = ("layer", "head", "query", "key")

    def reducer(self) -> Keep:
        return Keep()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Any], Tensor]:
        def whole(weights: Tensor, block: Block) -> Tensor:
            start, end = block.cols
            return torch.nn.functional.pad(weights, (start, call.op.k_len - end))

        got = yield {"maps": Rows(whole)}
        maps: Tensor = got["maps"]
        return maps


@torch.no_grad()
def patterns(lens: "Lens", x: Mapping[str, Any]) -> list[Tensor]:
    """Return the weights of all layers on inputs in one run, [batch, head, query, key] each, in float32 on the CPU.

    All of them are held at once: layer · batch · head · token² numbers. Raises ValueError for a model in training mode, whose
    dropout would make them random.
    """
    if lens.model.training:
        raise ValueError("patterns are those of a model without dropout: call model.eval() first")
    found = lens.measure(x, [_Maps()])
    whole = torch.stack(found["maps"].examples, 1)  # [layer, batch, head, query, key], NaN for heads that a layer lacks
    return [maps[:, : site.heads] for maps, site in zip(whole, found.sites, strict=True)]


def layer_map(recipient: int, donor: int) -> list[int]:
    """Return for each layer of the recipient the donor's layer at the same depth, first to first and last to last."""
    return [round(layer * (donor - 1) / max(recipient - 1, 1)) for layer in range(recipient)]


def in_order(recipient: Sequence[Tensor], donor: Sequence[Tensor]) -> list[list[int]]:
    """Return the head map that takes heads by their number, beginning anew where the donor has fewer."""
    return [
        [head % source.shape[1] for head in range(own.shape[1])]
        for own, source in zip(recipient, _sources(recipient, donor), strict=True)
    ]


def permuted(recipient: Sequence[Tensor], seed: int) -> list[list[int]]:
    """Return a head map within each layer in which no head keeps its place, where there are two heads or more."""
    generator, found = torch.Generator().manual_seed(seed), []
    for own in recipient:
        heads = own.shape[1]
        order = torch.randperm(heads, generator=generator).tolist()
        shifted = {head: order[(place + 1) % heads] for place, head in enumerate(order)}
        found.append([shifted[head] for head in range(heads)])
    return found


def matched(recipient: Sequence[Tensor], donor: Sequence[Tensor]) -> list[list[int]]:
    """Return the head map of the least total variation between patterns on the same inputs, one to one in each layer.

    Where the donor has fewer heads, those that are left over take the head that is nearest to them.
    """
    from scipy.optimize import linear_sum_assignment

    found = []
    for own, source in zip(recipient, _sources(recipient, donor), strict=True):
        apart = torch.stack([(own[:, [head]] - source).abs().sum(-1).mean((0, 2)) / 2 for head in range(own.shape[1])])
        chosen = apart.argmin(1).tolist()
        for head, other in zip(*linear_sum_assignment(apart.numpy()), strict=True):
            chosen[int(head)] = int(other)
        found.append(chosen)
    return found


def _sources(recipient: Sequence[Tensor], donor: Sequence[Tensor]) -> list[Tensor]:
    return [donor[layer] for layer in layer_map(len(recipient), len(donor))]


def swap(
    recipient: Sequence[Tensor],
    donor: Sequence[Tensor],
    heads: HeadMap | None = None,
    *,
    layers: Sequence[int] | None = None,
    share: float = 1.0,
) -> PatchWeights:
    """Return the edit that gives a model another one's patterns, from `patterns` of both on the same inputs.

    `heads` are in order by default, `layers` all of the recipient's, and `share` is how much of each row is the donor's. The
    donor's patterns are those of its own stream, and do not follow what the swap changes in the recipient. In decoding they cover
    the tokens that they were taken on. Raises ValueError for patterns of other inputs.
    """
    if recipient[0].shape[0] != donor[0].shape[0] or recipient[0].shape[2:] != donor[0].shape[2:]:
        raise ValueError(
            f"patterns {list(donor[0].shape)} are of other inputs than {list(recipient[0].shape)}: take both on the same tokens"
        )
    heads = in_order(recipient, donor) if heads is None else heads
    sources = _sources(recipient, donor)
    chosen = range(len(recipient)) if layers is None else layers
    pairs = [(layer, head) for layer in chosen for head in range(recipient[layer].shape[1])]
    weights = torch.cat([sources[layer][:, list(heads[layer])] for layer in chosen], 1)
    return PatchWeights(pairs, weights, share)


@dataclass(frozen=True)
class Swap:
    """What a model is worth under a swap: loss in nats, accuracy, and the share of its attention's worth that is left.

    `recovery` is `(loss - uniform) / (own - uniform)`: 1 as good as itself, 0 as bad as with even attention everywhere.
    """

    loss: float
    accuracy: float
    recovery: float


@torch.no_grad()
def swap_report(
    recipient: "Lens",
    donor: "Lens",
    x: Mapping[str, Any],
    scored: Tensor | None = None,
    *,
    match_on: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> dict[str, Swap]:
    """Give a causal language model another one's patterns, beside the controls without which this says nothing.

    `scored` [batch, token] says which tokens are judged, by default all but the first and padding. Heads are matched on
    `match_on`, by default on x itself. The rows: `own`, `uniform` (even attention), `self` (its own patterns put back: must be
    as `own`), `permuted` (its own, heads of a layer in another order), `mean` (its own, averaged over texts), `other text` (its
    own, of the next text of the batch), `raw` (the donor's, heads by number), `matched` (the donor's, heads by likeness).
    Raises ValueError for models of other vocabularies, a single text, and models in training mode. Source: arXiv 2510.21866;
    its procedure is not established, and the controls are ours.
    """
    sizes = [lens.model.get_input_embeddings().weight.shape[0] for lens in (recipient, donor)]  # type: ignore[operator]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"models of {sizes[0]} and {sizes[1]} tokens do not read the same inputs: no swap across tokenizers"
        )
    if len(x["input_ids"]) < 2:
        raise ValueError("other texts and means over texts need two texts or more")
    own, theirs = patterns(recipient, x), patterns(donor, x)
    fit = (own, theirs) if match_on is None else (patterns(recipient, match_on), patterns(donor, match_on))
    pairs = [(layer, head) for layer, maps in enumerate(own) for head in range(maps.shape[1])]
    edits = {
        "own": None,
        "uniform": UniformHeads(pairs),
        "self": swap(own, own),
        "permuted": swap(own, own, permuted(own, seed)),
        "mean": swap(own, [maps.mean(0, keepdim=True).expand_as(maps) for maps in own]),
        "other text": swap(own, [maps.roll(1, 0) for maps in own]),
        "raw": swap(own, theirs),
        "matched": swap(own, theirs, matched(*fit)),
    }
    worth = {name: worth_under(recipient, x, edit, scored) for name, edit in edits.items()}
    base, whole = worth["uniform"][0], worth["own"][0] - worth["uniform"][0]
    return {name: Swap(loss, right, (loss - base) / whole) for name, (loss, right) in worth.items()}


@torch.no_grad()
def worth_under(
    lens: "Lens", x: Mapping[str, Any], edit: Any = None, scored: Tensor | None = None
) -> tuple[float, float]:
    """Return loss in nats and accuracy of a causal language model on scored tokens, under an edit."""
    ids = x["input_ids"]
    mask = x.get("attention_mask")
    if scored is None:
        scored = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    judged = scored[:, 1:].to(ids.device)
    if mask is not None:  # what comes first is foretold by padding
        judged = judged & mask[:, :-1].bool() & mask[:, 1:].bool()
    if edit is None:
        logits = lens.model(**x).logits
    else:
        with lens.edit(edit):
            logits = lens.model(**x).logits
    said, right = logits[:, :-1].float()[judged], ids[:, 1:][judged]
    return float(torch.nn.functional.cross_entropy(said, right)), float((said.argmax(-1) == right).float().mean())
