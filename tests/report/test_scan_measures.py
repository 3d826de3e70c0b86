"""What a scan measures by itself is what dense maps show: areas, sinks, cards, norms, massive activations, patches."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hosts.zoo import QWEN2_5_VL
from lens.tokenizers_here import CHATML, byte_level, llava_processor
from models_here import CHATS, TEXT, TEXTS, llama, llava
from torch import Tensor

import regard
from regard.lens import Lens
from regard.report import whereabouts
from regard.report.data import Scan, to_array
from regard.report.residual import strongest
from regard.report.scan import scan
from regard.report.whereabouts import AREAS, LAST, Whereabouts

NAMED = ("image", "system", "user", "assistant")


def maps(lens: Lens, x: Any, layers: int = 2) -> list[Tensor]:
    """Dense maps without padding, one [layer, head, query, key] in float64 per example."""
    whole = torch.stack([lens.weights(x, layer) for layer in range(layers)]).double()
    return [whole[:, row][..., real, :][..., real] for row, real in enumerate(x.valid)]


def expected(weights: Tensor, named: dict[str, Tensor]) -> Tensor:
    """The entries of one layer [head, entry], key by key and query by query."""
    heads, n, _ = weights.shape
    shares = weights.mean((0, 1))
    sinks = [key for key in range(1, n) if shares[key] > max(whereabouts.SHARE, whereabouts.TIMES_EVEN / n)]
    out = torch.zeros(heads, len(AREAS) + 2, dtype=torch.float64)
    for head in range(heads):
        for query in range(n):
            row = weights[head, query]
            for key in range(n):
                if key == 0:
                    area = "first"
                elif key in sinks:
                    area = "other sinks"
                else:
                    area = next((name for name in NAMED if name in named and named[name][key]), "rest")
                    area = "last 16" if area == "rest" and 0 <= query - key < LAST else area
                out[head, AREAS.index(area)] += row[key] / n
            out[head, AREAS.index("sink logit")] += (1 - row.sum()) / n
        kept = torch.tensor([key not in (0, *sinks) for key in range(n)])
        others = weights[head] * kept
        left = others.sum(-1)
        rows = left > whereabouts.LEFT
        p = others[rows] / left[rows, None]
        far = (torch.arange(n)[:, None] - torch.arange(n)).abs()[rows]
        out[head, -2] = -torch.xlogy(p, p).sum(-1).mean()
        out[head, -1] = (p * far).sum(-1).mean()
    return out


@pytest.mark.parametrize("side", ["left", "right"])
def test_whereabouts_are_those_of_the_dense_maps(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whereabouts, "SHARE", 0.05)  # so that some tokens of a random model are sinks
    monkeypatch.setattr(whereabouts, "TIMES_EVEN", 1.5)
    lens = regard.attach(llama(), byte_level(CHATML, bos=False, padding_side=side))
    x = lens.encode(CHATS)
    found = lens.measure(x, [Whereabouts(text=True)])["whereabouts"]
    wanted = []
    for example, weights in zip(x.segments.examples, maps(lens, x), strict=True):
        named = {name: example.named[name] for name in NAMED if name in example.named}
        wanted.append(torch.stack([expected(layer, named) for layer in weights]))
    torch.testing.assert_close(found.mean, torch.stack(wanted).mean(0), atol=1e-5, rtol=1e-5)
    areas = found.mean[..., : len(AREAS)]
    there = {name for name, share in zip(AREAS, areas.amax((0, 1)), strict=True) if share > 0.01}
    assert there == {"first", "other sinks", "system", "user", "assistant", "last 16", "rest"}
    torch.testing.assert_close(areas.sum(-1), torch.ones(2, 4, dtype=torch.float64), atol=1e-5, rtol=0)


def test_a_row_with_nothing_besides_its_sink_is_left_out() -> None:
    lens = regard.attach(llama(), byte_level())
    found = lens.measure(lens.encode("the cat"), [Whereabouts(text=True)])["whereabouts"].mean
    # Two tokens: the first sees itself alone, and the second has itself besides the first, or nothing.
    kept = found[..., -2:][(1 - found[..., 0]) > whereabouts.LEFT]
    torch.testing.assert_close(kept, torch.zeros_like(kept), atol=1e-6, rtol=0)
    assert len(kept) >= 4 and bool(found[..., -2:][(1 - found[..., 0]) < whereabouts.LEFT / 3].isnan().all())


@cache
def whole() -> tuple[Scan, Lens, Any]:
    model, tokenizer = llama(), byte_level()
    lens = regard.attach(model, tokenizer)
    return scan(model, tokenizer, TEXTS), lens, lens.encode(TEXTS[:1])


def test_cards_are_the_dense_rows() -> None:
    result, lens, x = whole()
    (weights,) = maps(lens, x)
    cards = result.parts[0].cards
    assert cards is not None and cards.queries[-1] == weights.shape[-1] - 1 and len(cards.queries) <= 12
    for layer in range(2):
        for head in range(4):
            for place, query in enumerate(cards.queries):
                row = weights[layer, head, query]
                keys = cards.keys[layer][head][place]
                top = row.topk(min(5, int((row > 0).sum())))
                assert len(keys) == len(top.values) and all(key <= query for key in keys)
                np.testing.assert_allclose(row[keys], top.values, atol=1e-6)
                shown = np.array(cards.weights[layer][head][place])
                np.testing.assert_allclose(shown, row[keys] * 255, atol=0.51)
            received = weights[layer, head].sum(0) / torch.arange(weights.shape[-1], 0, -1)
            bins = received / received[1:].max()
            np.testing.assert_allclose(cards.bins[layer][head], bins.clamp_max(1) * 255, atol=0.51)


def test_long_texts_have_as_many_bins_as_can_be_drawn() -> None:
    result = scan(llama(), byte_level(), "a b c d e f g h " * 12, max_tokens=120)
    cards = result.parts[0].cards
    assert cards is not None and len(cards.bins[0][0]) == 120
    longer = llama()
    longer.config.max_position_embeddings = 512  # type: ignore[union-attr]
    cards = scan(longer, byte_level(), "a b c d e f g h " * 30).parts[0].cards
    assert cards is not None and len(cards.bins[0][0]) == 128


def test_what_tokens_receive_is_that_of_the_maps() -> None:
    result, lens, x = whole()
    (weights,) = maps(lens, x)
    received = (weights.sum(2) / torch.arange(weights.shape[-1], 0, -1)).mean(1)
    shown = np.array(result.examples[0].received) / 255 * np.array(result.examples[0].scale)[:, None]
    np.testing.assert_allclose(shown[:, 1:], received[:, 1:], atol=float(received.max()) / 250)
    assert result.examples[0].scale == pytest.approx(received[:, 1:].max(1).values.tolist(), rel=1e-3)


def test_norms_are_those_of_the_hidden_states() -> None:
    result, lens, x = whole()
    with torch.no_grad():
        states = lens.model(**x, output_hidden_states=True).hidden_states  # type: ignore[operator]
    example = result.examples[0]
    assert example.norms is not None and example.norm_scale is not None
    shown = np.array(example.norms[0]) / 255 * example.norm_scale[0]
    norms = states[1][0].norm(dim=-1)
    np.testing.assert_allclose(shown[1:], norms[1:], atol=float(norms.max()) / 250)


def test_a_planted_massive_activation_is_found_where_it_is() -> None:
    model, tokenizer = llama(), byte_level()
    text = "the cat ran to Paris"
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer(text)["input_ids"][-1], 7] = 1e6  # type: ignore[operator]
    result = scan(model, tokenizer, [text, "the cat"])
    place = len(tokenizer(text)["input_ids"]) - 1
    first = result.massive[0]
    assert (first.text, first.token, first.dim) == (0, place, 7) and first.value == pytest.approx(1e6, rel=0.1)
    assert first.ratio > 50 and all(one.ratio > 50 for one in result.massive)
    assert [one.ratio for one in result.massive] == sorted((one.ratio for one in result.massive), reverse=True)
    assert not whole()[0].massive
    assert {one.kind for one in result.sinks} == {"unmarked"}  # neither of the first two tokens is massive
    assert len(strongest(result.massive)) == len({(one.text, one.token, one.dim) for one in result.massive})


def test_similar_heads_are_found() -> None:
    model, tokenizer = llama(), byte_level()
    attention = model.model.layers[1].self_attn  # type: ignore[union-attr, index]
    with torch.no_grad():  # heads 0 and 1 share their key head, and now their queries
        attention.q_proj.weight[8:16] = attention.q_proj.weight[0:8]
    result = scan(model, tokenizer, TEXTS)
    top = result.parts[0].pairs[0]
    assert (top.layer, top.a, top.b) == (1, 0, 1) and top.similarity == pytest.approx(1, abs=1e-5)
    found = next(one for one in result.findings if one.key == "redundancy")
    assert "L1H0 and L1H1 (layer 2), 1.00" in found.sentence and found.code.count("(1, 1)") == 1


def brightness_of(result: Scan, part: int) -> np.ndarray[Any, Any]:
    """What the patches of the first image receive in the first layer, row by row."""
    example = next(one for one in result.examples if one.part == part)
    assert example.patches is not None and example.grid is not None
    received = np.array(example.received[0])[example.patches] * example.scale[0]
    return received.reshape(example.grid)


def bright(model: Any, projections: Sequence[Any], pixels: Any) -> None:
    """Make the first layer of an image encoder look at what is bright, wherever it is."""
    with torch.no_grad():
        pixels.weight.fill_(0.0)
        pixels.weight[0].fill_(1.0)  # the first channel of a patch is its brightness
        for query, key in projections:
            query.weight.fill_(0.0)
            query.bias.fill_(1.0)
            key.weight.fill_(0.0)
            key.weight[:, 0].fill_(0.5)
            key.bias.fill_(0.0)


@pytest.mark.parametrize("place", [(0, 0), (1, 4), (3, 2), (5, 5), (7, 1), (6, 3)])
def test_a_planted_patch_of_windows_is_on_its_pixels(place: tuple[int, int]) -> None:
    """Qwen2.5-VL's image encoder sorts patches into groups, and groups into windows."""
    from PIL import Image
    from transformers import Qwen2VLImageProcessorPil

    model: Any = QWEN2_5_VL.build()
    visual = model.model.visual
    qkv = visual.blocks[0].attn.qkv
    with torch.no_grad():
        visual.patch_embed.proj.weight.fill_(0.0)
        visual.patch_embed.proj.weight[0].fill_(1.0)
        visual.blocks[0].norm1.weight.fill_(1.0)
        qkv.weight.fill_(0.0)
        qkv.bias.fill_(0.0)
        qkv.bias[:32].fill_(1.0)  # all queries alike
        qkv.weight[32:64, 0].fill_(1.0)  # keys as bright as their patch
    picture = np.zeros((32, 24, 3), dtype=np.uint8)
    row, column = place
    picture[row * 4 : row * 4 + 4, column * 4 : column * 4 + 4] = 255
    reader = Qwen2VLImageProcessorPil(
        patch_size=4, merge_size=2, temporal_patch_size=1, min_pixels=64, max_pixels=4096, resample=0
    )
    x = dict(reader(Image.fromarray(picture), return_tensors="pt"))
    assert x["image_grid_thw"].tolist() == [[1, 8, 6]]
    ids = QWEN2_5_VL.inputs()["input_ids"][:1]
    x |= {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": (ids == 60).int()}
    result = scan(model, byte_level(), x)
    assert [part.name for part in result.parts] == ["main", "vision"]
    received = brightness_of(result, 1)
    assert received.shape == (8, 6) and np.unravel_index(received.argmax(), received.shape) == place


def test_planted_sinks_are_told_with_their_level() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(**TEXT | {"num_hidden_layers": 8, "hidden_size": 32}, num_key_value_heads=2)
    model, tokenizer = LlamaForCausalLM(config).eval(), byte_level()
    texts = ["the cat ran to Paris", "the dog"]
    ids = tokenizer(texts[0])["input_ids"]
    seen: list[torch.Tensor] = []
    model.get_input_embeddings().register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    u = torch.nn.functional.normalize(torch.randn(32), dim=0)
    for layer, token, size in ((1, ids[0], 400.0), (6, ids[0], -400.0), (3, ids[-1], 100.0)):

        def write(module: Any, args: Any, out: torch.Tensor, token: int = token, size: float = size) -> torch.Tensor:
            return out + size * (seen[-1] == token)[..., None] * u

        model.model.layers[layer].mlp.register_forward_hook(write)
    result = scan(model, tokenizer, texts)
    first, later, other = result.sinks
    assert (first.token, first.kind, first.start, first.lifetime, first.norm) == (0, "primary", 1, 5, 1.0)
    assert (later.token, later.kind, later.start, later.lifetime) == (len(ids) - 1, "secondary", 3, 3)
    assert first.times > 20 and first.mlp_along == pytest.approx(1, abs=1e-2)  # written by hand
    assert later.mlp_along == pytest.approx(1, abs=1e-2)
    assert later.norm == pytest.approx(0.25, abs=0.02) and (other.text, other.kind) == (1, "primary")
    finding = next(one for one in result.findings if one.key == "marked")
    assert finding.title == "Sinks that begin later" and finding.number == 0.5 and finding.texts == 2
    assert "behind layers 2 to 6 of 8 (L1 to L5)" in finding.sentence
    assert "behind layer 4 of 8 (L3), and 3 layers long, at 0.25 of its norm" in finding.sentence
    assert "1 of 2 texts" in finding.detail and "dimensions" in finding.detail
    hidden = scan(model, tokenizer, texts, redact=True)
    told = next(one for one in hidden.findings if one.key == "marked")
    assert f"the token at position {len(ids) - 1}" in told.sentence
    assert not any(one.key == "marked" for one in whole()[0].findings)


@pytest.mark.parametrize("place", [(0, 1), (2, 3), (3, 0)])
def test_a_planted_patch_of_llava_is_on_its_pixels(place: tuple[int, int]) -> None:
    from PIL import Image

    model: Any = llava()
    tower = model.model.vision_tower
    layer = tower.encoder.layers[0].self_attn
    bright(model, [(layer.q_proj, layer.k_proj)], tower.embeddings.patch_embedding)
    with torch.no_grad():
        tower.embeddings.position_embedding.weight.fill_(0.0)
        tower.embeddings.class_embedding.fill_(0.0)
    picture = np.zeros((16, 32, 3), dtype=np.uint8)  # of which the middle is seen
    row, column = place
    picture[row * 4 : row * 4 + 4, 8 + column * 4 : 12 + column * 4] = 255
    result = scan(model, llava_processor(), images=[Image.fromarray(picture)])
    received = brightness_of(result, 1)
    assert received.shape == (4, 4) and np.unravel_index(received.argmax(), received.shape) == place
    shown = _opened(result.examples[0].image)
    assert shown.shape[:2] == (16, 16) and shown[row * 4 + 2, column * 4 + 2].min() == 255 and shown.mean() < 30


def _opened(image: str | None) -> np.ndarray[Any, Any]:
    import base64
    import io

    from PIL import Image

    assert image is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image))))


def test_spread_over_texts_needs_eight() -> None:
    few, many = (scan(llama(), byte_level(), ["the cat sat", "the dog ran to Paris"] * n).parts[0] for n in (3, 4))
    assert few.spread["sink_mass"] == [] == few.spread["entropy"]
    table = many.statistics["entropy"]
    np.testing.assert_allclose(to_array(many.spread["entropy"]), to_array(table.std) / to_array(table.mean))
    assert np.shape(many.spread["similarity"]) == (2, 1)
