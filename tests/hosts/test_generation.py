"""Generation under an edit whose rows depend on themselves only: a cache of any kind gives what recomputing everything gives."""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import regard
from regard.core.call import Call
from regard.core.effects import Bias, Effect, Stage
from regard.core.protocols import Causality, Terms
from regard.core.where import Where

from .zoo import (
    BART,
    BLOOM,
    DECODERS,
    DEEPSEEK,
    FALCON,
    GEMMA3,
    GPT2,
    GPT_NEO,
    GPT_OSS,
    GPTJ,
    LLAMA,
    LLAVA,
    MISTRAL,
    MPT,
    PAIRS,
    QWEN2_5_VL,
    T5,
    WHISPER,
    Case,
    tokens,
)


@dataclass(frozen=True, eq=False)
class OddTokens:
    """Turn all heads away from tokens with odd ids: an edit that knows every row's own tokens, as segments by text do."""

    where: Where = field(default_factory=Where)
    stage: ClassVar[Stage] = "scores"
    causality: ClassVar[Causality] = "row"

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        yield {}
        ids = call.session.ids
        assert ids is not None and ids.shape[0] == call.op.batch
        odd = ids[:, call.k_index : call.k_index + call.op.k_len] % 2
        odd = nn.functional.pad(odd, (0, call.op.k_len - odd.shape[1]))
        return Bias(-2.0 * odd[:, None, None].float())


NEW = 5
"""Tokens to generate: with the prompt more than the windows of the sliding models."""


def edits(case: Case) -> list[Any]:
    """Edits of scores by token, of weights and of outputs, in cross-attention too where there is some."""
    both = [OddTokens(), regard.Redistribute("first", "rest", 0.6), regard.ZeroHeads([(0, 1), (1, 2)])]
    if case in PAIRS:
        both.append(regard.Redistribute("first", "rest", 0.6, heads=[(1, 0), (1, 3)], role="cross"))
    return both


def prompt(case: Case) -> dict[str, Any]:
    """The inputs of a case, without those that generation makes itself; padded on the left where there is padding."""
    given = tokens() if case is GPT2 else case.inputs()
    return {name: value for name, value in given.items() if not name.startswith("decoder")}


def generated(model: Any, x: dict[str, Any], **options: Any) -> Any:
    """Sequences and logits, of `NEW` tokens whatever they are."""
    torch.manual_seed(0)
    return model.generate(
        **x,
        **{
            "max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "pad_token_id": 0, "eos_token_id": 1,
            "return_dict_in_generate": True, "output_logits": True, **options,
        },
    )  # fmt: skip


def agree(cached: Any, whole: Any, tolerance: float = 1e-4) -> None:
    """Compare two generations: the same tokens, and the same logits at every step."""
    assert torch.equal(cached.sequences, whole.sequences)
    for a, b in zip(cached.logits, whole.logits, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=1e-5)


def moved(one: Any, other: Any) -> Tensor:
    """The largest change of the logits that both generations gave for the same tokens: those of the first step."""
    return (one.logits[0] - other.logits[0]).abs().max()


GENERATIVE = [*DECODERS, *PAIRS, LLAVA, QWEN2_5_VL, FALCON, BLOOM, GPTJ, GPT_NEO, MPT]


@pytest.mark.parametrize("case", GENERATIVE, ids=lambda case: case.name)
def test_a_cache_gives_what_recomputation_gives(case: Case) -> None:
    model, x = case.build(), prompt(case)
    lens = regard.attach(model)
    plain = generated(model, x)
    with lens.edit(*edits(case)):
        agree(generated(model, x), whole := generated(model, x, use_cache=False))
    assert moved(whole, plain) > 1e-3
    agree(generated(model, x), plain, 0.0)


MODES: list[tuple[str, Case, dict[str, Any]]] = [
    ("sampling", LLAMA, {"do_sample": True, "top_k": 8}),
    ("sampling", BLOOM, {"do_sample": True, "top_k": 8}),
    ("sampling", BART, {"do_sample": True, "top_k": 8}),
    ("beams", LLAMA, {"num_beams": 3}),
    ("beams", MISTRAL, {"num_beams": 3}),
    ("beams", T5, {"num_beams": 3}),
    ("beams", FALCON, {"num_beams": 3}),
    ("beams", GEMMA3, {"num_beams": 3}),
    ("beams", LLAVA, {"num_beams": 2}),
    ("beams and static", LLAMA, {"num_beams": 3, "cache_implementation": "static"}),
    ("beams that sample", GPT2, {"num_beams": 3, "do_sample": True, "num_return_sequences": 2}),
    ("several", T5, {"num_return_sequences": 2, "do_sample": True}),
    ("several", LLAMA, {"num_return_sequences": 2, "do_sample": True}),
    ("static", LLAMA, {"cache_implementation": "static"}),
    ("static", MISTRAL, {"cache_implementation": "static"}),
    ("static", GEMMA3, {"cache_implementation": "static"}),
    ("static", GPTJ, {"cache_implementation": "static"}),
    ("static", T5, {"cache_implementation": "static"}),
    ("static", FALCON, {"cache_implementation": "static"}),
    ("static", BLOOM, {"cache_implementation": "static"}),
    ("static", GPT_OSS, {"cache_implementation": "static"}),
    ("static", DEEPSEEK, {"cache_implementation": "static"}),
    ("chunks", GPT_OSS, {"prefill_chunk_size": 3}),
    ("chunks", LLAMA, {"prefill_chunk_size": 3}),
    ("chunks", MISTRAL, {"prefill_chunk_size": 3}),
    ("chunks", FALCON, {"prefill_chunk_size": 3}),
]


@pytest.mark.parametrize(("mode", "case", "options"), MODES, ids=[f"{mode}-{case.name}" for mode, case, _ in MODES])
def test_every_mode_of_generation(mode: str, case: Case, options: dict[str, Any]) -> None:
    model, x = case.build(), prompt(case)
    lens = regard.attach(model)
    whole_options = {k: v for k, v in options.items() if k not in ("cache_implementation", "prefill_chunk_size")}
    plain = generated(model, x, **options)
    with lens.edit(*edits(case)):
        agree(generated(model, x, **options), whole := generated(model, x, **whole_options, use_cache=False))
    assert moved(whole, plain) > 1e-3
    agree(generated(model, x, **options), plain, 0.0)


@pytest.mark.parametrize("case", [LLAMA, GPT2, T5], ids=lambda case: case.name)
def test_assisted_decoding(case: Case) -> None:
    model, x = case.build(), {name: value[:1] for name, value in prompt(case).items()}
    torch.manual_seed(1)
    assistant: nn.Module = case.make().eval()
    lens = regard.attach(model)
    with lens.edit(*edits(case)):
        assisted = generated(model, x, assistant_model=assistant)
        whole = generated(model, x, use_cache=False)
    agree(assisted, whole)
    assert moved(whole, generated(model, x)) > 1e-3


def test_speech_becomes_text_under_an_edit() -> None:
    model = WHISPER.build()
    x = {"input_features": WHISPER.inputs()["input_features"]}
    lens = regard.attach(model)
    with lens.edit(regard.ZeroHeads([(0, 1)], part="encoder")):
        edited = generated(model, x)
    assert moved(edited, generated(model, x)) > 1e-4


CHANGES: dict[str, tuple[Any, list[int], int]] = {
    "repeated": (lambda cache: cache.batch_repeat_interleave(2), [0, 0, 1, 1, 2, 2], 8),
    "selected": (lambda cache: cache.batch_select_indices(torch.tensor([2, 0])), [2, 0], 8),
    "reordered": (lambda cache: cache.reorder_cache(torch.tensor([2, 2, 1])), [2, 2, 1], 8),
    "cropped": (lambda cache: cache.crop(-3), [0, 1, 2], 5),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("case", [LLAMA, BLOOM], ids=lambda case: case.name)
def test_a_run_follows_what_is_done_to_its_cache(case: Case, change: str) -> None:
    model: Any = case.build()
    ids = tokens()["input_ids"]
    act, rows, kept = CHANGES[change]
    with regard.attach(model).edit(OddTokens()), torch.no_grad():
        cache = model(ids[:, :8], use_cache=True).past_key_values
        act(cache)
        new = ids[rows, 8:]
        continued = model(new, past_key_values=cache).logits
        whole = model(torch.cat([ids[rows, :kept], new], 1), use_cache=False).logits
    torch.testing.assert_close(continued, whole[:, kept:], atol=1e-4, rtol=1e-5)
