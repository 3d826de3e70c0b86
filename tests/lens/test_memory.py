"""Memory is judged on the whole model: linear in length, no language-model head, no [query, key] mask."""

from collections.abc import Callable

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import regard
from regard.bench.memory import peak_bytes

LENGTHS = (8192, 16384, 32768)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=4096, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
            max_position_embeddings=LENGTHS[-1],
        )
    ).eval()  # fmt: skip


def test_measuring_takes_memory_linear_in_length(model: LlamaForCausalLM) -> None:
    lens = regard.attach(model)
    taken = []
    for length in LENGTHS:
        x = {"input_ids": torch.randint(0, 4096, (1, length))}
        taken.append(peak_bytes(lambda x=x: lens.measure(x, [regard.SinkMass(), regard.Entropy(), regard.Received()])))
    quadratic = LENGTHS[-1] ** 2  # bytes of one boolean mask of that length
    logits = LENGTHS[-1] * 4096 * 4
    assert taken[-1] < quadratic / 8 and taken[-1] < logits, f"{taken[-1]} bytes at {LENGTHS[-1]} tokens"
    # Blocks have a fixed size, so twice the tokens take at most twice the memory, and a little of each block's own.
    assert taken[2] < 2.2 * taken[1] < 2.2**2 * taken[0], taken


def test_padding_makes_no_mask_of_queries_and_keys(model: LlamaForCausalLM) -> None:
    lens = regard.attach(model)
    mask = torch.ones(2, 4096, dtype=torch.long)
    mask[1, :100] = 0
    x = {"input_ids": torch.randint(0, 4096, (2, 4096)), "attention_mask": mask}

    def taken(work: Callable[[], object]) -> int:
        return peak_bytes(work)

    assert taken(lambda: lens.measure(x, [regard.SinkMass(), regard.Entropy()])) < 2 * 4096**2


def test_scattered_rows_share_their_keys() -> None:
    """Twice as many rows of a head take twice the rows, and not another copy of the head's keys and values for each."""
    shape = {"hidden_size": 256, "intermediate_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1}
    wide = LlamaForCausalLM(LlamaConfig(vocab_size=64, max_position_embeddings=2048, **shape)).eval()
    lens, x = regard.attach(wide), {"input_ids": torch.randint(0, 64, (1, 2048))}

    def taken(rows: int) -> int:
        return peak_bytes(lambda: lens.weights(x, layer=0, heads=[1], queries=list(range(0, 2048, 2048 // rows))))

    copy = 2 * 2048 * 128 * 4
    assert taken(32) - taken(16) < 16 * copy / 4
