"""Ways of generating beyond those of test_generation: lookups, drafts of the model itself, guidance, more caches, batching."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard
from regard.hosts import Tap

from .state import same, state
from .test_generation import NEW, OddTokens, agree, edits, generated, moved, prompt
from .zoo import GEMMA3, GPT_OSS, LLAMA, MISTRAL, T5, Case, tokens

ONE: list[tuple[str, Case, dict[str, Any]]] = [
    ("lookup", LLAMA, {"prompt_lookup_num_tokens": 3}),
    ("lookup", GEMMA3, {"prompt_lookup_num_tokens": 3}),
    ("lookup", T5, {"prompt_lookup_num_tokens": 3}),
    ("own drafts", LLAMA, {"assistant_early_exit": 1}),
]
"""Ways that take one example at a time."""
CACHES: list[tuple[str, Case, dict[str, Any]]] = [
    (name, case, {"cache_implementation": name})
    for name in ("sliding_window", "hybrid", "hybrid_chunked")
    for case in (MISTRAL, GEMMA3)
]
BOTH: list[tuple[str, Case, dict[str, Any]]] = [
    ("chunks", GEMMA3, {"prefill_chunk_size": 3}),
    ("chunks and static", GEMMA3, {"prefill_chunk_size": 3, "cache_implementation": "static"}),
    ("chunks and static", GPT_OSS, {"prefill_chunk_size": 3, "cache_implementation": "static"}),
    ("chunks and beams", LLAMA, {"prefill_chunk_size": 3, "num_beams": 2}),
    ("beams that sample and static", GEMMA3, {"num_beams": 2, "do_sample": True, "cache_implementation": "static"}),
    ("guidance", LLAMA, {"guidance_scale": 1.5}),
    ("guidance and sampling", GEMMA3, {"guidance_scale": 1.5, "do_sample": True, "top_k": 8}),
]
WAYS = [*ONE, *CACHES, *BOTH]
OF_A_CACHE = {"cache_implementation", "prefill_chunk_size", "prompt_lookup_num_tokens", "assistant_early_exit"}


@pytest.mark.parametrize(("way", "case", "options"), WAYS, ids=[f"{way}-{case.name}" for way, case, _ in WAYS])
def test_a_cache_gives_what_recomputation_gives(way: str, case: Case, options: dict[str, Any]) -> None:
    model, x = case.build(), prompt(case)
    if (way, case, options) in ONE:
        x = {name: value[:1] for name, value in x.items()}
    lens = regard.attach(model)
    plain, before = generated(model, x, **options), state(model)
    with lens.edit(*edits(case)):
        edited = generated(model, x, **options)
        whole = generated(model, x, **{k: v for k, v in options.items() if k not in OF_A_CACHE}, use_cache=False)
    agree(edited, whole)
    assert moved(edited, plain) > 1e-3
    agree(generated(model, x, **options), plain, 0.0)
    assert same(before, state(model))


@pytest.mark.parametrize("options", [{"guidance_scale": 1.5}, {"assistant_early_exit": 1}], ids=["guidance", "drafts"])
def test_phases_are_told_by_the_prompt_of_each_text(options: dict[str, Any]) -> None:
    model, x = LLAMA.build(), tokens(1)
    seen: set[tuple[int, int]] = set()
    tap = Tap(model, lambda call: seen.add((call.session.prompt, call.q_index)) if call.site.layer == 0 else None)
    with tap.listening():
        generated(model, x, **options)
    prompts = {length for length, first in seen if first == 0}
    # Guidance continues a text of its own, which begins with the prompt's last token; drafts continue the prompt.
    assert prompts == ({11, 1} if "guidance_scale" in options else {11})
    lens = regard.attach(model)

    def scaled(*phases: Any) -> Tensor:
        with lens.edit(*(regard.ScaleHeads([(0, 0), (1, 1)], 0.0, phase=phase) for phase in phases)):
            return torch.stack(generated(model, x, **options).logits)

    both = scaled("both")
    assert torch.equal(scaled("prefill", "decode"), both) and not torch.equal(scaled("prefill"), both)


def test_sampling_draws_the_same_with_a_lens_as_without() -> None:
    model, x = LLAMA.build(), prompt(LLAMA)
    lens = regard.attach(model)
    options = {"do_sample": True, "top_k": 20, "temperature": 1.5}
    plain = generated(model, x, **options)
    with lens.record([regard.Entropy()]) as recording:
        agree(generated(model, x, **options), plain, 0.0)
    with lens.edit(regard.ScaleHeads([(0, 0)], 1.0)):
        agree(generated(model, x, **options), plain, 0.0)
    assert recording["entropy"].shape == (3, NEW, 3, 4)


def zeroed(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    heads = args[0].unflatten(-1, (4, -1)).clone()
    heads[..., 2, :] = 0
    return (heads.flatten(-2),)


def test_a_quantised_cache_is_attended_to_as_it_is() -> None:
    pytest.importorskip("optimum.quanto")
    model: Any = LLAMA.build()
    x = prompt(LLAMA)
    options: dict[str, Any] = {"cache_implementation": "quantized"}
    options["cache_config"] = {"backend": "quanto", "nbits": 4, "q_group_size": 16, "residual_length": 4}
    lens = regard.attach(model)
    plain = generated(model, x, **options)
    with lens.edit(regard.ZeroHeads([(1, 2)])):
        edited = generated(model, x, **options)
    hook = model.model.layers[1].self_attn.o_proj.register_forward_pre_hook(zeroed)
    agree(generated(model, x, **options), edited, 0.0)
    hook.remove()
    with lens.edit(OddTokens()):
        assert moved(generated(model, x, **options), plain) > 1e-3
    agree(generated(model, x, **options), plain, 0.0)


def test_continuous_batching_is_refused() -> None:
    model: Any = LLAMA.build()
    before = state(model)
    with (
        regard.attach(model).edit(regard.ZeroHeads([(0, 0)])),
        pytest.raises(ValueError, match=r"continuous batching keeps its keys in pages.* use generate"),
    ):
        model.generate_batch([[3, 4, 5]], max_new_tokens=2, progress_bar=False)
    assert same(before, state(model))
