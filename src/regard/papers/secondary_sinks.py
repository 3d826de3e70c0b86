"""On the Existence and Behaviour of Secondary Attention Sinks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ..lens import Lens, attach
from ..lens.mlp_outputs import Change, add_to_token, mlp_changed, shrink_along
from ..lens.sink_atlas import SinkAtlas, sink_atlas
from ..lens.sink_evidence import SinkEvidence
from ..lens.sink_levels import SinkToken, Window, find_sinks, find_window
from ..measure import SinkRate
from ..training.cache import trained_model
from ..training.recipes.bench_levels import BenchLevels
from .cards import Card, Claim, Cost, Deviation, Evidence, Figure, Measured, Own, Setting

BENCH = "bench-levels, GPT-2 of 2 layers"
TEXTS, UNSEEN = 64, 77
TOKEN = 16
"""The position where a sink is planted, in texts of 32 tokens."""
DOSES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""What is planted, in norms of what the feed-forward layer writes for BOS."""
SATURATED = (16.0, 32.0)
SHRUNK = 0.1
"""Of the norm of what is written for BOS; the paper's code has 100, where sinks have thousands."""
USERS_TOKENS, USERS_TEXTS = 16384, 8


@dataclass(frozen=True)
class Planted:
    """What planting does: the weight of the token and of BOS in the second layer, and behind how many layers it is a sink."""

    weight: float
    bos: float
    lifetime: float


def check(setting: Setting) -> Iterator[Evidence]:
    """Plant sinks in bench models, or map those of a user's model."""
    if setting.model is not None:
        yield from _users(setting.model, setting)
        return
    yield Deviation("levels", "planted streams of 24 layers", float(_wrong()))
    rows: list[list[str | float | int]] = []
    for seed in setting.seeds:
        recipe = BenchLevels(seed=seed)
        if setting.quick:
            recipe = replace(recipe, steps=200)
        model = trained_model(recipe, setting.device)
        ids = recipe.language.sample(TEXTS, UNSEEN).ids.to(setting.device)
        yield from _bench(attach(model), {"input_ids": ids}, seed, rows)
    columns = [
        "planted",
        "seed",
        "norms of BOS",
        "weight of the token",
        "weight of BOS",
        "layers a sink",
        "rate of BOS",
    ]
    yield Figure("doses", columns, rows)


def _bench(lens: Lens, x: dict[str, Tensor], seed: int, rows: list[list[str | float | int]]) -> Iterator[Evidence]:
    written = lens.cache(x, ["mlp_out.0"])["mlp_out.0"]
    bos = written[:, 0].mean(0)
    drawn = torch.randn(bos.shape, generator=torch.Generator().manual_seed(seed)).to(bos)
    random = drawn * bos.norm() / drawn.norm()
    rate = float(lens.measure(x, [SinkRate()])["sink_rate"].mean[1])
    found: dict[str, dict[float, Planted]] = {"BOS": {}, "random": {}}
    for name, vector in (("BOS", bos), ("random", random)):
        for dose in (*DOSES, *SATURATED):
            found[name][dose] = one = plant(lens, x, add_to_token(dose * vector, TOKEN))
            rows.append([name, seed, dose, one.weight, one.bos, one.lifetime, rate])
    shrink = shrink_along(bos, SHRUNK * float(bos.norm()))

    def planted_and_shrunk(y: Tensor, positions: Tensor) -> Tensor:
        return shrink(add_to_token(SATURATED[0] * bos, TOKEN)(y, positions), positions)

    suppressed = plant(lens, x, planted_and_shrunk)
    rows.append(["BOS, shrunk", seed, SATURATED[0], suppressed.weight, suppressed.bos, suppressed.lifetime, rate])
    of_bos, of_random = found["BOS"], found["random"]
    without = of_bos[0.0]
    dose = _spearman(DOSES, [of_bos[dose].weight for dose in DOSES])
    yield Measured("dose", BENCH, seed, dose, {"random": _spearman(DOSES, [of_random[dose].weight for dose in DOSES])})
    two, chance = of_bos[2.0], of_random[2.0]
    yield Measured("size", BENCH, seed, two.weight, {"unplanted": without.weight})
    yield Measured("direction", BENCH, seed, two.weight, {"random": chance.weight})
    yield Measured(
        "lifetime", BENCH, seed, of_bos[4.0].lifetime,
        {"unplanted": without.lifetime, "random": of_random[4.0].lifetime},
    )  # fmt: skip
    yield Measured("weakens", BENCH, seed, two.bos, {"unplanted": without.bos, "random": chance.bos})
    low, high = (of_bos[dose].weight for dose in SATURATED)
    yield Measured("plateau", BENCH, seed, high, {"half": low})
    yield Measured("suppressed", BENCH, seed, suppressed.weight, {"unplanted": without.weight})
    atlas = sink_atlas(lens, [{"input_ids": row[None]} for row in x["input_ids"]])
    yield Measured("exist", BENCH, seed, atlas.share)


def plant(lens: Lens, x: Mapping[str, Any], change: Change) -> Planted:
    """Change what the first layer's feed-forward module writes and see what becomes of the token, mean over texts."""
    with mlp_changed(lens, 0, change, x):
        evidence = torch.stack(lens.measure(x, [SinkEvidence(1)])["sink_evidence"].examples)[:, 1, :, TOKEN]
        streams = lens.cache(x, ["resid_post.0", "resid_post.1"]).values()
    near = [torch.nn.functional.cosine_similarity(one[:, TOKEN], one[:, 0], dim=-1) > 0.9 for one in streams]
    lifetime = float(torch.stack(near).float().sum(0).mean())
    return Planted(float(evidence[..., 0].mean()), float(evidence[..., 4].mean()), lifetime)


def _spearman(doses: tuple[float, ...], weights: list[float]) -> float:
    """Return the rank correlation of doses that rise with what they give; no two weights are equal."""
    ranks = torch.tensor(weights).argsort().argsort().double()
    return float(torch.corrcoef(torch.stack([torch.arange(len(doses)).double(), ranks]))[0, 1])


def _wrong() -> int:
    """Plant sinks in made-up streams of 24 layers, and count what is found otherwise than it was planted."""
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(25, 40, 64, generator=generator)  # before the first block and behind each
    u = torch.nn.functional.normalize(torch.randn(64, generator=generator), dim=0)
    h -= (h @ u)[..., None] * u
    h[4:23, 0] = 900.0 * u
    near: dict[int, tuple[str, list[int]]] = {
        5: ("primary", list(range(3, 22))), 9: ("secondary", [8, 9, 10, 13, 14]), 17: ("brief", [12, 13]),
    }  # fmt: skip
    for token, (_, layers) in (near | {12: ("", list(range(10, 20)))}).items():
        cosine = 0.85 if token == 12 else 0.95
        for layer in layers:
            side = torch.nn.functional.normalize(h[layer + 1, token], dim=0)
            h[layer + 1, token] = 300.0 * (cosine * u + (1 - cosine**2) ** 0.5 * side)
    norms = h.norm(dim=-1)
    window = find_window(norms[:, 0], norms[:, 1:].median(1).values)
    if window != Window(3, 22):
        return len(near)
    cosines = torch.nn.functional.cosine_similarity(h[1:], h[1:, :1], dim=-1)
    found = find_sinks(cosines, norms[1:], 0, window)
    expected = {token: (kind, tuple(layers)) for token, (kind, layers) in near.items()}
    return len(set(expected.items()) ^ {(one.token, (one.kind, one.layers)) for one in found})


def _users(path: str, setting: Setting) -> Iterator[Evidence]:
    """Map the sinks of a user's model on texts of a file, one a line, or on pieces of the sample text."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype="auto").to(setting.device).eval()
    lens = attach(model, tokenizer)
    data = SAMPLE if setting.data is None else Path(setting.data).name
    atlas = sink_atlas(lens, map(partial(lens.encode, max_tokens=USERS_TOKENS), _texts(setting.data)))
    yield Measured("exist", path, 0, atlas.share, data=data)
    rows = atlas.rows()
    if rows:
        columns = list(rows[0])
        yield Figure("sinks", columns, [[row[name] for name in columns] for row in rows])
    yield from _levels(path, atlas, data)


def _levels(path: str, atlas: SinkAtlas, data: str) -> Iterator[Evidence]:
    secondary: list[SinkToken] = atlas.secondary
    if secondary:
        yield Measured("levels", path, 0, float(median(sink.start for sink in secondary)), data=data)
        found = [[one.start, one.fraction, *one.lifetimes, one.tokens] for one in atlas.levels(fewest=1)]
        yield Figure("levels", ["start", "start over depth", "shortest", "longest", "tokens"], found)


def _texts(data: str | None) -> list[str]:
    if data is not None:
        lines = Path(data).read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line.strip()]
    whole = files("regard.report").joinpath("sample.txt").read_text(encoding="utf-8")
    pieces = [piece for piece in whole.split("\n\n") if piece.strip()]
    return pieces[:USERS_TEXTS]


SAMPLE = "sample text"
AIME = "aime24.txt"


def _own(expected: float | None, within: float = 0.0, model: str = "DeepSeek-R1-Distill-Qwen-14B") -> Own:
    return Own(
        model=f"deepseek-ai/{model}", data=AIME, expected=expected, within=within,
        command=f"regard papers check secondary-sinks --model deepseek-ai/{model} --data {AIME} --device cuda, where the file "
        "has a prompt of AIME24 with the model's own reasoning behind it on each line",
    )  # fmt: skip


UNPLANTED = {"unplanted": "the same texts without a plant"}
RANDOM = {"random": "a random direction of the same norm"}
WEIGHT = "mean weight of the token in the next layer"
BEFORE = "Set before, by the specification."
CARD = Card(
    slug="secondary-sinks",
    title="On the Existence and Behaviour of Secondary Attention Sinks",
    family="sinks",
    authors=6,
    date=date(2025, 12, 22),
    arxiv="2512.22213",
    sentence=(
        "It finds tokens that become attention sinks only in the middle of a network and only for some layers, "
        "and traces them to one MLP that writes along the direction of the first token's sink."
    ),
    methods=(
        "regard.lens.sink_atlas.sink_atlas",
        "regard.lens.sink_levels.SinkRule",
        "regard.lens.sink_levels.Wong2025",
        "regard.lens.sink_levels.find_levels",
        "regard.lens.mlp_outputs.shrink_along",
    ),
    real=(
        "`regard scan MODEL` tells the sinks of the residual stream on a few texts; `sink_atlas(lens, texts).rows()` gives each "
        "sink with its level and what forms it; `regard papers check secondary-sinks --model PATH --data TEXTS` counts them."
    ),
    claims=(
        Claim(
            name="levels", statement="Secondary sinks begin behind a few layers only, at levels.",
            reported="All 270 of DeepSeek-R1-Distill-Qwen-14B begin behind block 22 of 48; three levels in QwQ-32B, six in "
            "Qwen3-14B.", metric="the layer behind which half of them have begun", threshold=0.0,
            why="It is judged by its equation, and on the paper's model.",
            equation="tokens that are found with another kind, start or lifetime than was planted", tolerance=0.0,
            own=_own(22.0, 0.5),
        ),
        Claim(
            name="exist", statement="Tokens in the middle of texts become sinks in the middle of the network.",
            reported="167 of 300 texts have one (DeepSeek-R1-Distill-Qwen-14B, counted from the shipped detections).",
            metric="share of texts with a secondary sink",
            why="A twentieth of the texts, set before; none is expected in a model this small.", threshold=0.05, bench=BENCH,
            own=_own(0.557, 0.15),
        ),
        Claim(
            name="dose", statement="The longer the vector that is written, the stronger the sink.",
            reported="No number is known.", metric=f"rank correlation of what is planted with the {WEIGHT}", threshold=0.9,
            why=BEFORE, controls=RANDOM, bench=BENCH, own=_own(None),
        ),
        Claim(
            name="size", statement="Twice what is written for BOS makes a sink of a token that is none.",
            reported="Not in the paper.", metric=WEIGHT, measure="ratio", against="unplanted", threshold=5.0,
            why=f"{BEFORE} A pilot of one seed had 4.5.", controls=UNPLANTED, bench=BENCH, own=_own(None),
        ),
        Claim(
            name="direction", statement="It is the direction that makes the sink.", reported="No number is known.",
            metric=WEIGHT, measure="ratio", against="random", threshold=2.0, why=BEFORE, controls=RANDOM, bench=BENCH,
            own=_own(None),
        ),
        Claim(
            name="lifetime", statement="A longer vector lives through more layers.", reported="No number is known.",
            metric="layers behind which the cosine with BOS is above 0.9, at 4 norms of BOS", measure="difference",
            against="unplanted", threshold=0.5, why="Half a layer of two, set before any lifetime was seen.",
            controls=UNPLANTED | RANDOM, bench=BENCH, own=_own(None),
        ),
        Claim(
            name="weakens", statement="The primary sink weakens where a secondary sink is.", reported="A figure.",
            metric="mean weight of BOS in the next layer, of queries behind the token", measure="ratio",
            against="unplanted", direction="below", threshold=0.9,
            why="A tenth less; set when a pilot of one seed had 0.87.", controls=UNPLANTED | RANDOM, bench=BENCH,
            own=_own(None),
        ),
        Claim(
            name="plateau", statement="The norm counts by the mixture with the rest of the stream: once aligned, more of it "
            "changes nothing, since the next norm takes it out.", reported="Not in the paper.",
            metric=f"{WEIGHT}, at {SATURATED[1]:.0f} norms of BOS", measure="ratio", against="half", direction="below",
            threshold=1.1, why="A tenth more, set before.", controls={"half": f"at {SATURATED[0]:.0f} norms"}, bench=BENCH,
            own=_own(None),
        ),
        Claim(
            name="suppressed", statement="To shrink what is written along the direction takes the sink out.",
            reported="A hook in the code, without a number.", metric=f"{WEIGHT}, planted with 16 norms and shrunk",
            measure="ratio", against="unplanted", direction="below", threshold=1.2, why=f"{BEFORE} Within a fifth.",
            controls=UNPLANTED, bench=BENCH, own=_own(None),
        ),
    ),
    check=check,
    cost=Cost(minutes=4, quick_minutes=1.5, memory_gb=1),
)  # fmt: skip
