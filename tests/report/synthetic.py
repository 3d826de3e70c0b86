"""Scans made up for tests of the page: their numbers are plausible, and no model is needed."""

import base64
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from regard.report.data import (
    Areas,
    Cards,
    Check,
    Example,
    Finding,
    Massive,
    Model,
    Pair,
    Part,
    Row,
    Scan,
    Sink,
    Statistic,
    to_table,
)

SENTENCE = "<s> The old clock on the wall has stopped , but nobody in the house seems to have noticed it ."
WORDS = SENTENCE.split()


def statistic(values: np.ndarray, texts: int) -> Statistic:
    """A statistic with a small deviation."""
    return Statistic(to_table(values), to_table(0.05 * np.abs(values)), texts)


def cards(layers: int, heads: int, tokens: int, example: int, generator: np.random.Generator) -> Cards:
    """Cards of up to 12 queries with 5 keys each."""
    queries = sorted({int(place) for place in np.linspace(0, tokens - 1, min(12, tokens))}, reverse=True)
    keys, weights = [], []
    for layer in range(layers):
        keys.append([])
        weights.append([])
        for _ in range(heads):
            found = [generator.choice(query + 1, min(5, query + 1), replace=False).tolist() for query in queries]
            keys[layer].append(found)
            weights[layer].append([[180 // (rank + 1) for rank in range(len(each))] for each in found])
    bins = generator.integers(0, 200, (layers, heads, min(128, tokens)))
    bins[:, :, 0] = 255
    return Cards(example, example, queries, keys, weights, bins.tolist())


def part(
    layers: int, heads: int, tokens: int, *, texts: int = 12, name: str = "main", role: str = "self", example: int = 0,
    title: str = "the language model", names: Sequence[str] = ("first", "other sinks", "last 16", "rest"),
) -> Part:  # fmt: skip
    """A part whose sink grows with depth."""
    generator = np.random.default_rng(layers * heads)
    depth = np.linspace(0, 1, layers)[:, None] if layers > 1 else np.full((1, 1), 0.5)
    mass = np.clip(0.1 + 0.7 * np.sin(np.pi * depth**0.7) * generator.uniform(0.3, 1.1, (layers, heads)), 0, 0.98)
    entropy = (1 - mass) * np.log(tokens) * generator.uniform(0.5, 1, mass.shape)
    distance = tokens / 4 * (mass + (1 - mass) * generator.uniform(0.01, 0.5, mass.shape))
    rest = generator.uniform(0.5, 1, (layers, len(names) - 1)) * (1 - mass.mean(1, keepdims=True))
    rest *= (1 - mass.mean(1, keepdims=True)) / rest.sum(1, keepdims=True)
    shares = np.concatenate([mass.mean(1, keepdims=True), rest], axis=1)
    return Part(
        name=name,
        role=role,
        title=title,
        reading="back",
        lengths=[tokens] * texts,
        rows=[Row(f"model.layers.{i}.self_attn", i, role, name, heads, "interface") for i in range(layers)],
        statistics={
            "sink_mass": statistic(mass, texts),
            "sink_rate": statistic((mass > 0.3).astype(float), texts),
            "entropy": statistic(entropy, texts),
            "entropy|no_sinks": statistic(entropy + 0.5, texts),
            "distance": statistic(distance, texts),
            "distance|no_sinks": statistic(distance * (1 - mass), texts),
            "max_weight": statistic(np.clip(mass + 0.1, 0, 1), texts),
            "effective_keys": statistic(np.exp(entropy), texts),
        },
        areas=Areas(list(names), to_table(shares)),
        pairs=[Pair(0, 0, 1, 0.98), Pair(layers - 1, 1, heads - 1, 0.91)],
        spread={"similarity": to_table(generator.uniform(0.2, 0.7, (layers, 1)))}
        | ({name: to_table(np.full_like(mass, 0.1)) for name in ("sink_mass", "entropy")} if texts >= 8 else {}),
        cards=cards(layers, heads, tokens, example, generator),
    )


def text(layers: int, tokens: list[str], *, place: int = 0, title: str = "text 1") -> Example:
    """A text whose first token receives most."""
    generator = np.random.default_rng(len(tokens))
    received = generator.integers(0, 60, (layers, len(tokens)))
    received[:, 0] = 255
    norms = generator.integers(40, 80, (layers, len(tokens)))
    return Example(
        kind="text", part=place, title=title, tokens=tokens, segments=["first"] + ["text"] * (len(tokens) - 1),
        truncated=0, received=received.tolist(), scale=[0.6] * layers, norms=norms.tolist(),
        norm_scale=[200.0] * layers, image=None, grid=None, patches=None,
    )  # fmt: skip


def png(rows: int, columns: int) -> str:
    """A picture with a bright disc, as a page holds it."""
    y, x = np.mgrid[0 : rows * 24, 0 : columns * 24]
    disc = (y - rows * 10) ** 2 + (x - columns * 15) ** 2 < (rows * 5) ** 2
    pixels = np.stack([60 + x % 120, 90 + y % 100, np.where(disc, 230, 70)], axis=-1).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def with_image(example: Example, rows: int, columns: int, at: int, kind: str) -> Example:
    """The example with a grid of patches from token `at` on; the last patch receives most."""
    patches = list(range(at, at + rows * columns))
    name = "image" if kind == "image" else "image[0]"
    segments = [name if place in patches else segment for place, segment in enumerate(example.segments)]
    received = np.array(example.received)
    received[:, patches[-1]] = 200
    return replace(
        example, kind=kind, segments=segments, received=received.tolist(), image=png(rows, columns),
        grid=(rows, columns), patches=patches,
    )  # fmt: skip


def finding(key: str, place: int = 0, texts: int = 12) -> Finding:
    """A finding with everything that one can have."""
    return Finding(
        key=key, part=place, title="A sink on the first token",
        sentence="`<s>`, the first token of every text, takes 0.45 to 0.78 of all attention in layers 5 to 20 of 24 (L4 to L19).",
        detail="612 of 768 heads put more than 0.3 on it. In the other layers it takes 0.10 to 0.28.",
        quantity="mean mass in these layers", number=0.61, interval=(0.57, 0.65) if texts >= 8 else None, texts=texts,
        rule="longest run of layers that put more than 0.3 on the first token",
        meaning="Such a sink is usually read as a resting place: a large weight here is not importance.",
        code="with lens.edit(Redistribute(take_from='first', give_to='rest', move=0.6)): model(**x)",
    )  # fmt: skip


def scan(parts: list[Part], examples: list[Example], **changes: object) -> Scan:
    """A scan of these parts."""
    made = Scan(
        model=Model("tiny/llama", "main", "LlamaForCausalLM", "float32", "cpu", 1_234_567),
        versions={"regard": "0"},
        settings={"max_tokens": 512, "batch_size": 8},
        command="regard scan tiny/llama --max-tokens 512",
        unit="text",
        truncated=0,
        parts=parts,
        examples=examples,
        massive=[Massive(2, 0, 0, 1415, 1204.0, 830.0)],
        sinks=[
            Sink(0, 0, "primary", 1, 3, 1.0, 30.0, 0.98, 0.61, 0.4, 0.1, 0.9),
            Sink(0, 4, "secondary", 3, 1, 0.25, 8.0, 0.95, 0.2, None, None, None),
        ],
        sources=[],
        special=["<s>"],
        findings=[finding("sink", place) for place in range(len(parts)) for _ in range(3)],
        checks=[
            Check("listening changes nothing", "ok", 0.0, "outputs are equal bit by bit"),
            Check("rows add up", "ok", 2e-7, "the weights of every query add up to 1"),
        ],
        deviation=1e-7,
        notes=[],
        seconds=3.2,
        peak_bytes=900 * 2**20,
        redacted=False,
    )
    return replace(made, **changes)


def language_model(texts: int = 12) -> Scan:
    """4 layers of 6 heads on two texts."""
    return scan([part(4, 6, len(WORDS), texts=texts)], [text(4, WORDS), text(4, WORDS[:9], title="text 2")])


def vision_language_model() -> Scan:
    """A language model and its image encoder, with a text that holds the image's tokens."""
    tokens = ["<s>", "USER", ":"] + ["<image>"] * 16 + ["What", "is", "in", "it", "?", "ASSISTANT", ":", "a", "disc"]
    said = with_image(text(4, tokens), 4, 4, 3, "text")
    segments = list(said.segments)
    segments[1:3] = ["user"] * 2
    segments[19:24] = ["user"] * 5
    segments[24:] = ["assistant"] * (len(tokens) - 24)
    seen = with_image(text(3, ["[CLS]"] + ["patch"] * 36, place=1, title="image 1"), 6, 6, 1, "image")
    seen = replace(seen, norms=None, norm_scale=None)
    parts = [
        part(4, 6, len(tokens), texts=1, names=("first", "image", "user", "assistant", "last 16", "rest")),
        part(3, 4, 37, texts=1, name="vision", title="the image encoder", example=1),
    ]
    return scan(parts, [replace(said, segments=segments), seen], findings=[finding("sink", texts=1)])


def encoder_decoder() -> Scan:
    """Three parts, the last of which has no cards of its own."""
    parts = [
        part(3, 4, 12, name="decoder", title="the decoder"),
        part(3, 4, 12, name="encoder", title="the encoder", example=1),
        replace(part(3, 4, 12, name="decoder", role="cross", title="cross-attention of the decoder"), cards=None),
    ]
    return scan(parts, [text(3, WORDS[:12]), text(3, WORDS[2:14], place=1)])


def large() -> Scan:
    """24 layers of 32 heads on a text of 4096 tokens."""
    return scan([part(24, 32, 4096)], [text(24, (WORDS * 205)[:4096])])
