"""The atlas of sinks of real model classes: planted ones, the evidence against dense maps, and none where there are none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import regard
from regard.cli._load import demo_model
from regard.lens.sink_atlas import SinkAtlas, sink_atlas

DEPTH, WIDTH, LENGTH = 8, 32, 21
FIRST, LATER, SMALL = 1, 61, 62


def llama(**options: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**shape(options), num_key_value_heads=2))


def mistral() -> Any:
    from transformers import MistralConfig, MistralForCausalLM

    return MistralForCausalLM(MistralConfig(**shape({}), num_key_value_heads=2, sliding_window=5))


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=WIDTH, n_layer=DEPTH, n_head=4, n_positions=64))


def shape(options: dict[str, Any]) -> dict[str, Any]:
    base = {
        "vocab_size": 64, "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": DEPTH,
        "num_attention_heads": 4, "eos_token_id": None, "initializer_range": 0.1,
    }  # fmt: skip
    return base | options


def planted(make: Callable[[], Any]) -> tuple[Any, Tensor]:
    """A model whose feed-forward layers write along one direction: for BOS after block 1, undone after 6, and twice between."""
    torch.manual_seed(0)
    model = make().eval()
    ids = torch.randint(2, 60, (1, LENGTH))
    ids[0, [0, 11, 15]] = torch.tensor([FIRST, LATER, SMALL])
    u = torch.nn.functional.normalize(torch.randn(WIDTH), dim=0)
    blocks = model.model.layers if hasattr(model, "model") else model.transformer.h

    def write(layer: int, token: int, size: float) -> None:
        seen: list[Tensor] = []
        model.get_input_embeddings().register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        blocks[layer].mlp.register_forward_hook(
            lambda _, args, out: out + ((seen[-1] == token)[..., None] * size * u).to(out)
        )

    write(1, FIRST, 400.0)
    write(6, FIRST, -400.0)
    write(3, LATER, 200.0)
    return model, ids


def atlas(model: nn.Module, ids: Tensor, **options: Any) -> SinkAtlas:
    return sink_atlas(regard.attach(model), [{"input_ids": ids}], **options)


@pytest.mark.parametrize("make", [llama, mistral, gpt2], ids=lambda make: make.__name__)
def test_planted_sinks_are_found_with_what_forms_them(make: Callable[[], Any]) -> None:
    found = atlas(*planted(make))
    (text,) = found.texts
    assert (text.primary, text.window and (text.window.start, text.window.end)) == (0, (1, 6))
    (sink,) = text.sinks
    assert (sink.token, sink.kind, sink.start, sink.lifetime) == (11, "secondary", 3, 3)
    assert found.depth == DEPTH and found.share == 1.0 and found.secondary == [sink]
    first, later = found.rows()
    assert (first["kind"], first["start"], first["lifetime"]) == ("primary", 1, 5)
    assert later["start_fraction"] == 3 / 8 and later["norm"] == pytest.approx(0.5, abs=0.05)
    assert float(later["mlp_along"]) > 0.95 > 0.9 > abs(float(later["mlp_in"]))
    assert later["mlp_norm"] == pytest.approx(0.5, abs=0.05)
    assert found.levels(fewest=1)[0].start == 3 and found.levels() == []
    layer, largest = text.massive[0]
    assert (largest.token, layer in range(1, 6)) == (0, True) and largest.ratio > 50
    with pytest.MonkeyPatch.context() as patch:  # the last block's own output, and not what the last norm makes of it
        patch.setattr(model_norm(planted(make)[0]), "forward", lambda x: x * 0)
        assert atlas(*planted(make)).texts[0].tables["norm"].min() > 0


def model_norm(model: Any) -> nn.Module:
    norm: nn.Module = model.model.norm if hasattr(model, "model") else model.transformer.ln_f
    return norm


@pytest.mark.parametrize("make", [llama, mistral, gpt2], ids=lambda make: make.__name__)
def test_evidence_is_that_of_dense_maps(make: Callable[[], Any]) -> None:
    model, ids = planted(make)
    lens = regard.attach(model)
    table = atlas(model, ids).texts[0].tables
    names = [f"{kind}.{layer}" for layer in range(DEPTH) for kind in ("q", "k", "v")]
    acts = lens.cache({"input_ids": ids}, names)
    for layer in (0, 4, 7):
        weights = lens.weights({"input_ids": ids}, layer)[0]  # [head, query, key]
        q, k, v = (acts[f"{kind}.{layer}"][0] for kind in "qkv")
        k, v = (one.repeat_interleave(len(q) // len(one), 0) for one in (k, v))
        for token in (0, 11, 20):
            seeing = [query for query in range(token, LENGTH) if make is not mistral or query - token < 5]
            mine, first = weights[:, seeing, token].mean(1), weights[:, seeing, 0].mean(1)
            assert float(table["weight"][layer, token]) == pytest.approx(float(mine.mean()), abs=1e-5)
            assert float(table["sink_heads"][layer, token]) == pytest.approx(float((mine > 0.3).float().mean()))
            if float(first.mean()) > 1e-6:
                ratio = float(mine.mean() / first.mean())
                assert float(table["relative_weight"][layer, token]) == pytest.approx(ratio, rel=1e-3)
            cosine = torch.nn.functional.cosine_similarity(q[:, seeing], k[:, token, None], dim=-1).mean()
            assert float(table["query_key_cosine"][layer, token]) == pytest.approx(float(cosine), abs=1e-4)
            for name, one in (("key_norm", k), ("value_norm", v)):
                norm = one.norm(dim=-1)
                expected = (norm[:, token] / norm.median(-1).values).mean()
                assert float(table[name][layer, token]) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("left", [True, False])
def test_padding_changes_nothing(left: bool) -> None:
    model, ids = planted(llama)
    plain = atlas(model, ids).texts[0]
    pad, ones = torch.full((1, 4), 7), torch.ones_like(ids)
    parts = ((pad, ids), (torch.zeros_like(pad), ones))
    padded, mask = (torch.cat(part if left else part[::-1], 1) for part in parts)
    (text,) = sink_atlas(regard.attach(model), [{"input_ids": padded, "attention_mask": mask}]).texts
    assert (text.primary, text.window) == (plain.primary, plain.window)
    assert [(one.token, one.kind, one.layers) for one in text.sinks] == [
        (one.token, one.kind, one.layers) for one in plain.sinks
    ]
    for name, table in plain.tables.items():
        torch.testing.assert_close(text.tables[name], table, atol=1e-3, rtol=1e-3, equal_nan=True)


def test_minilm_has_no_massive_token_and_so_no_sinks_of_the_residual_stream() -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = demo_model()[1]
    lens = regard.attach(AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))
    found = sink_atlas(lens, ["The old clock on the wall has stopped, but nobody noticed it.", "A dog, and a cat."])
    assert [(text.primary, text.sinks) for text in found.texts] == [(None, [])] * 2 and found.rows() == []
    assert found.share == 0.0 and found.texts[0].tokens[0] == "[CLS]"
    assert float(found.texts[0].tables["weight"][1:5, 0].min()) > 0.3  # attention has a sink all the same


@pytest.mark.parametrize("kind", ["bloom", "mpt"])
def test_what_a_module_wrote_is_not_told_where_it_adds_the_residual_stream_itself(kind: str) -> None:
    from transformers import BloomConfig, BloomForCausalLM, MptConfig, MptForCausalLM

    torch.manual_seed(0)
    bloom = BloomConfig(vocab_size=64, hidden_size=WIDTH, n_layer=3, n_head=4, initializer_range=0.3)
    mpt = MptConfig(vocab_size=64, d_model=WIDTH, n_layers=3, n_heads=4, max_seq_len=32, initializer_range=0.3)
    model = BloomForCausalLM(bloom) if kind == "bloom" else MptForCausalLM(mpt)
    tables = atlas(model.eval(), torch.randint(0, 64, (1, 9))).texts[0].tables
    assert {"norm", "cosine", "attn_out", "mlp_in", "weight"} <= tables.keys()
    assert not {"mlp_out", "mlp_along", "mlp_norm"} & tables.keys()


def test_half_precision_and_short_texts() -> None:
    model, ids = planted(llama)
    assert [sink.token for sink in atlas(model.bfloat16(), ids).secondary] == [11]
    assert atlas(model, ids[:, :1]).texts[0].sinks == []


def test_what_cannot_be_mapped_is_refused() -> None:
    model, ids = planted(llama)
    lens = regard.attach(model)
    with pytest.raises(ValueError, match="one by one"):
        sink_atlas(lens, [{"input_ids": ids.expand(2, -1)}])
    with pytest.raises(ValueError, match="there are none"):
        sink_atlas(lens, [])
