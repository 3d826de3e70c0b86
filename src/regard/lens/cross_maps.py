"""Cross-attention maps of an encoder-decoder: with the reference before each token, or with what the model itself has said."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..core.call import Call
from ..core.patchwork import Patchwork
from ..core.where import Where
from .rows import rows_of

if TYPE_CHECKING:
    from .lens import Lens

_SOURCE = ("input_ids", "attention_mask", "input_features", "inputs_embeds")
_GREEDY = {
    "num_beams": 1, "do_sample": False, "num_return_sequences": 1, "use_cache": True, "return_dict_in_generate": False,
}  # fmt: skip
"""Over what a checkpoint asks for."""


@dataclass(frozen=True, eq=False)
class CrossMaps:
    """All cross-attention of a batch, on the CPU.

    Shapes: `weights` [example, layer, head, step, source]; `steps` [example, step] bool, False behind the end of a shorter
    target; `ids` [example, step] are the decoder's inputs, of which step t is the t-th, the start token included: the row of step
    t says where the model looked when it predicted token t + 1.
    """

    weights: Tensor
    steps: Tensor
    ids: Tensor


def teacher_forced(
    lens: "Lens", x: Mapping[str, Any], decoder_input_ids: Tensor, pad: int | None = None, eos: int | None = None
) -> CrossMaps:
    """Return the maps with the reference as the decoder's input, [example, step], in one pass; edits that are active count.

    Steps behind the last token that is not `pad` do not count, nor do those from an end marker `eos` on, which a shorter target
    of a batch has as an input; a first token that is one begins the target. Raises ValueError for a model without
    cross-attention.
    """
    given = {name: value for name, value in x.items() if name in _SOURCE}
    met: dict[int, list[Tensor]] = {}
    lens._run({**given, "decoder_input_ids": decoder_input_ids}, _keeping(met))
    steps = _until(decoder_input_ids, pad)
    steps[:, 1:] &= _before(decoder_input_ids[:, 1:], eos)
    return CrossMaps(_stacked(lens, met), steps, decoder_input_ids.cpu())


@torch.no_grad()
def decoder_inputs(model: Any, x: Mapping[str, Tensor]) -> Tensor:
    """Return what a model gives its decoder, [example, step], for a reference in `labels`, which families shift differently."""
    met: list[Tensor] = []
    handle = model.get_decoder().register_forward_pre_hook(
        lambda module, args, kwargs: met.append(args[0] if args else kwargs["input_ids"]), with_kwargs=True
    )
    try:
        model(**x)
    finally:
        handle.remove()
    return met[0]


@torch.no_grad()
def generated(lens: "Lens", x: Mapping[str, Any], **options: Any) -> CrossMaps:
    """Return the maps of a greedy generation, in which each step's row comes with what the model has said before it.

    `options` are those of `generate`. Maps stop before the last token said, which nothing was predicted from, and steps before
    the end marker of each example. Raises ValueError for sampling or beams, whose steps change rows, for a generation without a
    cache, which repeats them, and for a model without cross-attention.
    """
    greedy = options.get("num_beams", 1) == 1 and not options.get("do_sample")
    if not greedy or options.get("num_return_sequences", 1) != 1 or options.get("use_cache") is False:
        raise ValueError(
            "maps of a generation are those of a greedy one with a cache: no beams, no sampling, one sequence an example"
        )
    given = {name: value for name, value in x.items() if name in _SOURCE}
    met: dict[int, list[Tensor]] = {}
    model: Any = lens.model
    with _listening(lens, met):
        said: Tensor = model.generate(**given, **{**options, **_GREEDY})
    ids = said[:, :-1]
    weights = _stacked(lens, met)
    if weights.shape[3] != ids.shape[1]:
        raise ValueError(f"{weights.shape[3]} steps were heard, and {ids.shape[1]} tokens are behind them")
    prompt = next(iter(met.values()))[0].shape[2]  # what the model was given, which may begin with an end marker
    steps = _until(ids, _told(model, options, "pad_token_id"))
    steps[:, prompt:] &= _before(ids[:, prompt:], _told(model, options, "eos_token_id"))
    return CrossMaps(weights, steps, ids.cpu())


def _told(model: Any, options: Mapping[str, Any], name: str) -> Any:
    """Return what a generation takes for a special token; an option that is None says that there is none."""
    if name in options:
        return options[name]
    configs = (options.get("generation_config"), getattr(model, "generation_config", None))
    return next((token for config in configs if (token := getattr(config, name, None)) is not None), None)


@contextmanager
def _listening(lens: "Lens", met: dict[int, list[Tensor]]) -> Iterator[None]:
    with lens._of_this_thread(), lens._probing(_keeping(met)):
        yield


def _keeping(met: dict[int, list[Tensor]]) -> Any:
    where = Where(role="cross")

    def probe(call: Call, patchwork: Patchwork) -> None:
        if where.at(call.site):
            rows = rows_of(patchwork, range(call.op.heads), range(call.op.q_len))
            met.setdefault(call.site.layer, []).append(rows.detach().float().cpu())

    return probe


def _stacked(lens: "Lens", met: dict[int, list[Tensor]]) -> Tensor:
    if not met:
        raise ValueError(lens._nothing(None, "cross"))
    return torch.stack([torch.cat(met[layer], 2) for layer in sorted(met)], 1)


def _until(ids: Tensor, pad: int | None) -> Tensor:
    """Return the steps up to the last one that is not padding, [example, step] bool."""
    if pad is None:
        return torch.ones(ids.shape, dtype=torch.bool)
    real = (ids != pad).cpu()
    real[:, 0] = True  # a model may begin with its padding token, as T5 does
    return real.flip(1).cummax(1).values.flip(1)


def _before(said: Tensor, eos: int | list[int] | None) -> Tensor:
    """Return the steps before the first end marker, [example, step] bool."""
    if eos is None:
        return torch.ones(said.shape, dtype=torch.bool)
    return torch.isin(said.cpu(), torch.as_tensor(eos).cpu()).cumsum(1) == 0
