"""Deconstructing Attention: Investigating Design Principles for Effective Language Modeling."""

from collections.abc import Iterator, Mapping
from datetime import date
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor, nn

from ..design.key_score import KeyScoreAttention, KeyScores
from ..design.mixer import Mixer, decoder_layers, one_layer_each, remove_mixer, skipping
from ..design.other_source import EmbeddingQK, RandomQK, TextQK
from ..design.stored import described
from ..design.taylor import TaylorAttention
from ..design.token_mlp import TokenMLP
from ..training.cache import trained_model
from ..training.recipe import HELD_OUT
from ..training.recipes.bench_mixer import BenchMixer
from .cards import Card, Claim, Cost, Deviation, Evidence, Figure, Measured, Own, Setting

BENCH = "bench-mixer, 4 layers"
TEXT = tuple(range(1, 32))
"""The fixed text: 31 tokens of the bench model's vocabulary, as long as its texts."""
ARMS: dict[str, tuple[Mixer | None, int]] = {
    "standard": (None, 4),
    "half": (None, 2),
    "MLP": (TokenMLP(), 4),
    "key scores": (KeyScores(), 4),
    "Taylor": (TaylorAttention(), 4),
    "random": (RandomQK(31), 4),
    "text": (TextQK(TEXT), 4),
    "hybrid MLP": (TokenMLP("hybrid"), 4),
    "hybrid key scores": (KeyScores("hybrid"), 4),
    "hybrid text": (TextQK(TEXT, "hybrid"), 4),
}
"""What is trained: a mixer, None for none, and how many layers."""
SAMPLE = "the sample text of regard"


def recipe(arm: str, seed: int, quick: bool = False) -> BenchMixer:
    """Return what an arm of `ARMS` is trained from."""
    mixer, layers = ARMS[arm]
    steps = 30 if quick else BenchMixer().steps
    return BenchMixer(
        seed=seed, layers=layers, steps=steps, evaluate_every=steps, design=None if mixer is None else described(mixer)
    )


def check(setting: Setting) -> Iterator[Evidence]:
    """Compare mixers with their formulas and train the arms; or put each into one layer after the other of a user's model."""
    if setting.model is not None:
        yield from _given(setting)
        return
    yield from _equations()
    rows: list[list[str | float | int]] = []
    for seed in setting.seeds:
        found, skipped, largest = {}, 0.0, {}
        for arm in ARMS:
            trained = recipe(arm, seed, setting.quick)
            model = trained_model(trained, setting.device)
            with torch.no_grad():
                found[arm] = trained.evaluate(model)
                if arm == "hybrid key scores":
                    with skipping(model):
                        skipped = trained.evaluate(model)["loss"]
            if arm == "standard":
                texts = trained.texts(64, HELD_OUT)[0]
                batch = {name: value.to(setting.device) for name, value in texts.items()}
                rise = {
                    type(one): float(one_layer_each(model, one, batch).mean())
                    for one in (TaylorAttention(), KeyScores())
                }
                yield Measured("substitution", BENCH, seed, rise[TaylorAttention], {"key scores": rise[KeyScores]})
            if arm.endswith("key scores"):
                largest[arm] = largest_score(model, trained.texts(64, HELD_OUT)[0]["input_ids"].to(setting.device))
            rows.append([arm, seed, *found[arm].values()])
        yield from _claims(found, skipped, largest, seed)
    yield Figure("arms", ("arm", "seed", "loss", "loss on text", "copies", "recall"), rows)


def _claims(
    found: Mapping[str, Mapping[str, float]], skipped: float, largest: Mapping[str, float], seed: int
) -> Iterator[Measured]:
    recall = {arm: one["recall"] for arm, one in found.items()}
    standard = {"standard": recall["standard"]}
    yield Measured("standard", BENCH, seed, recall["standard"], {"half": recall["half"]})
    for name, arm in (("mixing", "MLP"), ("fixed-text", "text"), ("fixed-random", "random")):
        yield Measured(name, BENCH, seed, recall[arm], standard)
    yield Measured("fixed-copies", BENCH, seed, found["text"]["copy"], {"MLP": found["MLP"]["copy"]})
    yield Measured("form", BENCH, seed, recall["Taylor"], standard)
    yield Measured("hybrid-key-scores", BENCH, seed, recall["hybrid key scores"], {"uniform": recall["key scores"]})
    yield Measured("hybrid-text", BENCH, seed, recall["hybrid text"], {"uniform": recall["text"]})
    loss = {arm: one["loss"] for arm, one in found.items()}
    others = {"MLP": loss["hybrid MLP"], "half": loss["half"]}
    for name in ("key scores", "text"):
        yield Measured(f"cooperation-{name.replace(' ', '-')}", BENCH, seed, loss[f"hybrid {name}"], others)
    yield Measured("logits", BENCH, seed, largest["key scores"], {"hybrid": largest["hybrid key scores"]})
    yield Measured("skip", BENCH, seed, skipped, {"half": loss["half"]})


@torch.no_grad()
def largest_score(model: nn.Module, ids: Tensor) -> float:
    """Return the largest magnitude of a key score in any layer that has them."""
    met: list[float] = []

    def hook(module: KeyScoreAttention, args: Any, kwargs: dict[str, Any]) -> None:
        met.append(float(module.scores(kwargs["hidden_states"]).abs().max()))

    handles = [
        block.self_attn.register_forward_pre_hook(hook, with_kwargs=True)
        for block in decoder_layers(model)
        if isinstance(block.self_attn, KeyScoreAttention)
    ]
    model(input_ids=ids)
    for handle in handles:
        handle.remove()
    return max(met)


@torch.no_grad()
def _equations() -> Iterator[Deviation]:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=50, hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, initializer_range=0.3,
    )  # fmt: skip
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(config).eval()
        ids = torch.randint(50, (2, 17))
    plain, count = _inside(model, ids[:1]), sum(p.numel() for p in model.parameters())
    TextQK(tuple(ids[0].tolist())).put(model)
    for layer, (own, theirs) in enumerate(zip(_inside(model, ids[:1]), plain, strict=True)):
        yield Deviation("same-text", f"layer {layer}", float((own[1] - theirs[1]).abs().max()))
    remove_mixer(model)
    EmbeddingQK().put(model)
    yield Deviation("first-layer", "embeddings", float((_inside(model, ids[:1])[0][1] - plain[0][1]).abs().max()))
    remove_mixer(model)
    KeyScores().put(model)
    for layer, (given, out) in enumerate(_inside(model, ids)):
        attention: Any = decoder_layers(model)[layer].self_attn
        again = attention.o_proj(running(attention.scores(given), attention._heads("v", given)))
        yield Deviation("running", f"layer {layer}", float((out - again).abs().max()))
    remove_mixer(model)
    mixers: tuple[Mixer, ...] = (TokenMLP(), KeyScores(), TaylorAttention(), RandomQK(17), TextQK((1,)), EmbeddingQK())
    for mixer in mixers:
        mixer.put(model)
        share = sum(p.numel() for p in model.parameters()) / count - 1
        yield Deviation("parameters", type(mixer).__name__, share)
        remove_mixer(model)


def running(scores: Tensor, v: Tensor) -> Tensor:
    """Return weighted means by `exp(scores)` [batch, head, token] of values so far, by running sums, [batch, token, width]."""
    top = scores.cummax(-1).values
    n, z, out = torch.zeros_like(v[:, :, 0]), torch.zeros_like(top[..., 0]), []
    for place in range(scores.shape[-1]):
        fade = (top[..., max(place - 1, 0)] - top[..., place]).exp()
        new = (scores[..., place] - top[..., place]).exp()
        n, z = fade[..., None] * n + new[..., None] * v[:, :, place], fade * z + new
        out.append(n / z[..., None])
    return torch.stack(out, 1).flatten(2)


def _inside(model: nn.Module, ids: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return what each layer's attention is given and gives."""
    met: list[tuple[Tensor, Tensor]] = []

    def hook(module: nn.Module, args: Any, kwargs: dict[str, Any], out: Any) -> None:
        met.append((kwargs["hidden_states"], out[0]))

    handles = [block.self_attn.register_forward_hook(hook, with_kwargs=True) for block in decoder_layers(model)]
    model(input_ids=ids)
    for handle in handles:
        handle.remove()
    return met


def _given(setting: Setting) -> Iterator[Evidence]:
    """Put mixers, untrained, into one layer after the other of a user's model, and tell the rise of its loss."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(setting.model)
    model = AutoModelForCausalLM.from_pretrained(setting.model).to(setting.device).eval()
    text = files("regard.report").joinpath("sample.txt").read_text(encoding="utf-8")
    ids = tokenizer(text, return_tensors="pt").input_ids[:, : 64 if setting.quick else 256].to(setting.device)
    mixers: dict[str, Mixer] = {
        "key scores": KeyScores(),
        "Taylor": TaylorAttention(),
        "embeddings": EmbeddingQK(),
        "the reversed text": TextQK(tuple(ids[0].flip(0).tolist())),
    }
    rises = {name: one_layer_each(model, mixer, {"input_ids": ids, "labels": ids}) for name, mixer in mixers.items()}
    for seed in setting.seeds:  # one text, so that all seeds are alike
        yield Measured("substitution", str(setting.model), seed, float(rises["Taylor"].mean()),
                       {"key scores": float(rises["key scores"].mean())}, SAMPLE)  # fmt: skip
    layers = range(len(rises["Taylor"]))
    yield Figure("substitution", ("layer", *rises), [[n, *(float(one[n]) for one in rises.values())] for n in layers])


def _theirs(expected: float | None, within: float = 0.0) -> Own:
    return Own(
        model="500M Qwen2.5 with multi-head attention", data="15B tokens of SlimPajama",
        command="train with a mixer of regard.design; models are not public", expected=expected, within=within,
    )  # fmt: skip


RECALL, LOSS = "share of names whose value is told", "held-out loss on both languages, nats"
LOST = (
    "more than half of what there is to recall; before a pilot it was 0.2 in all, but a mean of all bindings tells some values "
    "without a look at the right place, so that it measured the width of the model (0.25 with a fixed text)"
)
STANDARD = {"standard": "the same model with attention"}
CLAIMS = (
    Claim(
        name="same-text", statement="With the text itself as the fixed one, attention is standard attention.",
        reported="follows from the definition", metric="largest difference of what a layer's attention gives",
        threshold=0.0, why="it is judged by its equation", equation="TextQK of a text on it against the model without",
        tolerance=1e-5,
    ),
    Claim(
        name="first-layer", statement="With queries and keys of embeddings the first layer is as it was.",
        reported="follows from the definition", metric="largest difference of what its attention gives", threshold=0.0,
        why="it is judged by its equation", equation="EmbeddingQK against the model without", tolerance=1e-5,
    ),
    Claim(
        name="running", statement="The non-approximate mixer is a running mean.", reported="equations of section 3",
        metric="largest difference of what a layer's attention gives", threshold=0.0, why="it is judged by its equation",
        equation="KeyScores in parallel against running sums", tolerance=1e-4,
    ),
    Claim(
        name="parameters", statement="All mixers have the parameters of the attention that they replace.",
        reported="strictly matched", metric="difference of the model's parameters, share", threshold=0.0,
        why="it is judged by its equation", equation="parameters with each mixer and without", tolerance=1e-3,
    ),
    Claim(
        name="standard", statement="Attention in all layers recalls.", reported="WikiText perplexity 38.1", metric=RECALL,
        threshold=0.9, why="the bench is learnt; the other claims mean nothing else", bench=BENCH, own=_theirs(38.1, 2.0),
    ),
    Claim(
        name="mixing", statement="Without any mixing of tokens a model fails.", reported="perplexity 993.5 against 38.1",
        metric=RECALL, direction="below", threshold=0.2, why="three times guessing among 16 values, set before", bench=BENCH,
        controls=STANDARD, own=_theirs(993.5, 100.0),
    ),
    Claim(
        name="fixed-text", statement="Maps of a fixed text in every layer cannot recall.",
        reported="LAMBADA 1.4 % against 22.9 %", metric=RECALL, direction="below", measure="difference",
        against="standard", threshold=-0.5,
        why=LOST, bench=BENCH, controls=STANDARD, own=_theirs(1.4, 1.0),
    ),
    Claim(
        name="fixed-random", statement="Maps of random vectors in every layer cannot recall.",
        reported="LAMBADA 1.3 % against 22.9 %", metric=RECALL, direction="below", measure="difference",
        against="standard", threshold=-0.5,
        why=LOST, bench=BENCH, controls=STANDARD, own=_theirs(1.3, 1.0),
    ),
    Claim(
        name="fixed-copies", statement="Where a place is all that matters, fixed maps do.",
        reported="no number: perplexity 79.1 against 993.5 without mixing", metric="share of copied tokens that are told",
        threshold=0.9, why="nearly all, set before", bench=BENCH, controls={"MLP": "no mixing"}, own=_theirs(79.1, 8.0),
    ),
    Claim(
        name="form", statement="The exact form of softmax does not matter: its Taylor series does nearly as well.",
        reported="perplexity 47.9 against 38.1", metric=RECALL, measure="difference", against="standard", threshold=-0.1,
        controls=STANDARD, why="a tenth of what there is to recall, set before", bench=BENCH, own=_theirs(47.9, 3.0),
    ),
    *(
        Claim(
            name=f"hybrid-{name}", statement=f"With attention in every other layer, {what} do.", reported=reported,
            metric=RECALL, threshold=0.85, why="nearly what attention has, set before", bench=BENCH,
            controls={"uniform": "the mixer in every layer"}, own=_theirs(expected, 2.0),
        )
        for name, what, reported, expected in (
            ("key-scores", "key scores", "perplexity 39.4 against 38.1", 39.4),
            ("text", "maps of a fixed text", "perplexity 38.5 against 38.1", 38.5),
        )
    ),
    *(
        Claim(
            name=f"cooperation-{name}",
            statement=f"Half the attention is not enough: in the other layers, {what} help more than no mixing.",
            reported=reported, metric=LOSS, measure="difference", direction="below", against="MLP", threshold=0.0,
            controls={"MLP": "no mixing in the other layers", "half": "half as many layers"},
            why="any gain; the baselines are not in the paper, and on recall it may fail; set before", bench=BENCH,
            own=_theirs(expected, 2.0),
        )
        for name, what, reported, expected in (
            ("key-scores", "key scores", "perplexity 39.4 against 45.8", 39.4),
            ("text", "maps of a fixed text", "perplexity 38.5 against 45.8", 38.5),
        )
    ),
    Claim(
        name="logits", statement="Key scores in every layer grow out of bounds.", reported="above 1000 in the last layers",
        metric="largest magnitude of a key score", measure="ratio", against="hybrid", threshold=10.0,
        controls={"hybrid": "in every other layer"}, why="ten times those of the hybrid, set before", bench=BENCH,
        own=_theirs(None),
    ),
    Claim(
        name="skip", statement="The layers with mixers are needed once they have been trained.",
        reported="all below chance when they are left out", metric=LOSS, measure="difference", against="half",
        threshold=0.0, controls={"half": "half as many layers, trained so"}, why="worse than never having had them, set before",
        bench=BENCH, own=_theirs(None),
    ),
    Claim(
        name="substitution",
        statement="In a trained model, the Taylor series replaces a layer's softmax better than key scores do.",
        reported="not in the paper", metric="mean rise of the loss over layers, nats", measure="difference",
        against="key scores", direction="below", threshold=0.0, controls={"key scores": "key scores in its place"},
        why="any difference, set before", bench=BENCH,
        own=Own(model="Qwen/Qwen2.5-0.5B", data=SAMPLE, expected=None,
                command="regard papers check deconstructing-attention --model Qwen/Qwen2.5-0.5B"),
    ),
)  # fmt: skip

CARD = Card(
    slug="deconstructing-attention",
    title="Deconstructing Attention: Investigating Design Principles for Effective Language Modeling",
    family="sinks",
    authors=3,
    date=date(2025, 10, 13),
    arxiv="2510.11602",
    sentence=(
        "It trains language models in which attention has lost one property (mixing of tokens, the softmax form, "
        "dependence on the input, queries and keys of its own layer), in every layer or in every other one."
    ),
    methods=(
        "regard.design.token_mlp.TokenMLP",
        "regard.design.key_score.KeyScores",
        "regard.design.taylor.TaylorAttention",
        "regard.design.other_source.EmbeddingQK",
        "regard.design.other_source.TextQK",
        "regard.design.other_source.RandomQK",
        "regard.design.mixer.skipping",
        "regard.measure.map_indicators.HeadDiversity",
    ),
    real=(
        '`KeyScores("hybrid").put(model)` replaces the attention of every other layer of a Llama or Qwen; train it on, or from a '
        "configuration. `regard papers check deconstructing-attention --model MODEL` puts mixers into one layer after the other."
    ),
    claims=CLAIMS,
    check=check,
    cost=Cost(minutes=15, quick_minutes=2, memory_gb=1),
)
