"""Masks of transformers as recipes: the same as the library's own, without holding them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import masking_utils

from regard.hosts.recipe import Recipe, RecipeTensor

LENGTH = 13


def caught(make: Callable[..., Any], config: Any, **given: Any) -> Recipe:
    """The recipe that transformers' function asks for."""
    found: list[Recipe] = []

    def mask(**arguments: Any) -> Any:
        found.append(Recipe(masking_utils.sdpa_mask, arguments, int(arguments["kv_length"])))
        return RecipeTensor.wrap(found[0])

    config._attn_implementation_internal = "caught"
    masking_utils.AttentionMaskInterface.register("caught", mask)
    try:
        make(config=config, inputs_embeds=torch.zeros(3, LENGTH, 4), past_key_values=None, **given)
    finally:
        masking_utils.AttentionMaskInterface._global_mapping.pop("caught")
    return found[0]


def config(**options: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(**options)


def padding(left: int) -> torch.Tensor:
    mask = torch.ones(3, LENGTH, dtype=torch.bool)
    mask[1, :left] = False
    return mask


KINDS: dict[str, tuple[Callable[..., Any], Any, dict[str, Any]]] = {
    "causal": (masking_utils.create_causal_mask, config(), {}),
    "bidirectional": (masking_utils.create_bidirectional_mask, config(), {}),
    "window": (masking_utils.create_sliding_window_causal_mask, config(sliding_window=4), {}),
    "window both ways": (masking_utils.create_bidirectional_sliding_window_mask, config(sliding_window=3), {}),
    "chunks": (masking_utils.create_chunked_causal_mask, config(attention_chunk_size=5), {}),
    "window and blocks": (
        masking_utils.create_sliding_window_causal_mask,
        config(sliding_window=4),
        {"block_sequence_ids": torch.tensor([[-1] * 2 + [0] * 8 + [-1] * 3] * 3)},
    ),
}


@pytest.mark.parametrize("left", [0, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_is_the_librarys_mask(kind: str, left: int) -> None:
    make, options, given = KINDS[kind]
    recipe = caught(make, options, attention_mask=padding(left), **given)
    mask, dense = recipe.mask, recipe.dense()
    everything = (0, LENGTH), (0, LENGTH)
    allowed = mask.allowed(*everything)
    assert torch.equal(torch.ones_like(dense) if allowed is None else allowed.expand_as(dense), dense)
    for rows in [(0, 3), (4, 5), (9, LENGTH)]:
        lo, hi = mask.span(rows)
        outside = dense[:, :, rows[0] : rows[1]].clone()
        outside[..., lo:hi] = False
        assert not outside.any()
    queries = torch.rand(3, LENGTH) > 0.3
    seen = (dense & queries[:, None, :, None]).sum(2)
    assert torch.equal(mask.visible(queries).expand_as(seen).long(), seen)
    dead = mask.dead()
    assert torch.equal(~dense.any(-1), torch.zeros_like(seen).bool() if dead is None else dead.expand_as(seen))


def test_windows_and_chunks_bound_what_is_read() -> None:
    for kind, reach in (
        ("window", (4, 0)),
        ("window both ways", (3, 3)),
        ("chunks", (5, 0)),
        ("window and blocks", None),
    ):
        make, options, given = KINDS[kind]
        assert caught(make, options, attention_mask=padding(0), **given).mask.reach == reach
    make, options, _ = KINDS["window"]
    assert caught(make, options, attention_mask=padding(0)).mask.span((9, 11)) == (5, 11)


def test_a_recipe_survives_what_models_do_to_masks() -> None:
    make, options, _ = KINDS["window"]
    recipe = caught(make, options, attention_mask=padding(3))
    tensor = RecipeTensor.wrap(recipe)
    with torch._C.DisableTorchFunctionSubclass():
        assert tensor.shape == (3, 1, LENGTH, LENGTH) and tensor.untyped_storage().nbytes() == 1
    for kept in (tensor.contiguous(), tensor.to("cpu"), tensor[:, :, :, :7], tensor[..., :7]):
        assert isinstance(kept, RecipeTensor)
    assert tensor[..., :7].recipe.mask.k_len == 7
    for dense in (
        tensor.clone(),
        tensor[:, :, :, 2:],
        tensor.float().bool(),
        ~~tensor,
        torch.where(tensor, True, False),
    ):
        assert not isinstance(dense, RecipeTensor)
    assert torch.equal(~~tensor, recipe.dense()) and torch.equal(tensor[..., 2:], recipe.dense()[..., 2:])
