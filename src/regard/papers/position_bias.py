"""On the Emergence of Position Bias in Transformers."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor, nn

from ..lens import Lens, attach
from ..lens.influence import influence
from ..lens.rollout import Rollout, position_profile
from ..measure.profiles import spearman
from ..measure.walk import decay_peak, decay_profile, rollout, survival_bound
from ..training.attention_stack import AttentionStack, StackShape, stack_mask
from ..training.cache import trained_model
from ..training.recipes.bench_position import BenchPosition, gap
from ..training.recipes.bench_sink import BenchSink
from ..worlds.bursts import Bursts
from .cards import Card, Claim, Cost, Deviation, Evidence, Figure, Measured, Own, Setting

STACK, LLAMA = "bench-position, attention alone", "bench-sink, 6 layers"
SLOTS = 8
PREFIX = 3
EDGES = Bursts(asked=(0, SLOTS - 1))
ARMS: dict[str, BenchPosition] = {
    "causal, 2 layers": BenchPosition(),
    "causal, 6 layers": BenchPosition(layers=6),
    "decay, 2 layers": BenchPosition(positions="decay"),
    "decay, 6 layers": BenchPosition(layers=6, positions="decay"),
    "prefix, 2 layers": BenchPosition(mask="prefix"),
    "causal, asked at the edges": BenchPosition(data=EDGES),
    "rotary, asked at the edges": BenchPosition(data=EDGES, positions="rotary"),
}
"""What is trained, without residual connections: attention layers on in-context retrieval."""
SAMPLE = "the sample text of regard"
TOKENS, TEXTS = 128, 8


def check(setting: Setting) -> Iterator[Evidence]:
    """Compare closed forms and rollouts with dense products, train the stacks; or profile a user's model."""
    if setting.model is not None:
        yield from _given(setting)
        return
    yield from _equations()
    rows: list[list[str | float | int]] = []
    for seed in setting.seeds:
        yield from _stacks(setting, seed, rows)
        yield from _llama(setting, seed)
    yield Figure("gaps", ("arm", "seed", "first - middle", "first - last", "middle - last"), rows)


def _stacks(setting: Setting, seed: int, rows: list[list[str | float | int]]) -> Iterator[Evidence]:
    count, first_last, middle_last = 1000 if setting.quick else 10_000, {}, {}
    for name, arm in ARMS.items():
        steps = 60 if setting.quick else arm.steps
        recipe = replace(arm, seed=seed, steps=steps, evaluate_every=steps, checkpoint_every=steps)
        model = trained_model(recipe, setting.device)
        if name.startswith("prefix"):
            least, other = centre_scores(model, recipe.data)
            yield Measured("centres", STACK, seed, least, {"other": other})
            continue
        first, middle, last = 0, SLOTS // 2, SLOTS - 1
        found = [gap(model, recipe.data, *pair, count) for pair in ((first, middle), (first, last), (middle, last))]
        rows.append([name, seed, *found])
        _, first_last[name], middle_last[name] = found
    for positions in ("causal", "decay"):
        shallow, deep = (first_last[f"{positions}, {layers} layers"] for layers in (2, 6))
        yield Measured(f"depth-{positions}", STACK, seed, deep, {"shallow": shallow})
        yield Measured(f"sign-{positions}", STACK, seed, shallow)
    rotary = {"rotary": middle_last["rotary, asked at the edges"]}
    yield Measured("data", STACK, seed, middle_last["causal, asked at the edges"], rotary)


@torch.no_grad()
def centre_scores(model: AttentionStack, data: Bursts) -> tuple[float, float]:
    """Return the least attention that a token of the prefix gets from the mean query that sees it, and the most of all others."""
    vectors = data.rivals(256, 0, SLOTS - 1, seed=0).vectors.to(next(model.parameters()).device)
    lens = attach(model, check=False)
    seen = stack_mask(model.shape, data.length).sum(0)
    layers = range(model.shape.layers)
    maps = torch.stack([lens.weights({"inputs_embeds": vectors}, layer).mean((0, 1)) for layer in layers])
    received = maps.sum(1).cpu() / seen  # [layer, key]
    often = received.mean(0)[seen >= 4]  # the last ones are seen by few, and by themselves
    return float(often[:PREFIX].min()), float(often[PREFIX:].max())


def _llama(setting: Setting, seed: int) -> Iterator[Evidence]:
    """Roll out the attention of a trained Llama, which has residual connections, beside what its tokens do."""
    steps = 60 if setting.quick else 500
    recipe = BenchSink(seed=seed, layers=6, steps=steps)
    model = trained_model(recipe, setting.device)
    ids = recipe.language.sample(16 if setting.quick else 64, 77).ids.to(setting.device)
    yield from _beside(attach(model), ids, LLAMA, seed)


def _beside(lens: Lens, ids: Tensor, name: str, seed: int, data: str = "") -> Iterator[Measured]:
    """Yield what the rollouts say of the last token, with and without the residual stream, beside the gradients."""
    x = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with_residual, without = (position_profile(lens, x, residual) for residual in ("measured", "none"))
    moved = influence(lens, x)

    def agreement(found: Rollout) -> float:
        pairs = zip(found.profiles(), moved, strict=True)
        return sum(spearman(*pair) for pair in pairs) / len(moved)

    alone = {"alone": float(without.mass[:, 0].mean())}
    yield Measured("collapse", name, seed, float(with_residual.mass[:, 0].mean()), alone, data)
    yield Measured("influence", name, seed, agreement(with_residual), {"alone": agreement(without)}, data)


def _equations() -> Iterator[Deviation]:
    from transformers import BloomConfig, BloomForCausalLM, LlamaConfig, LlamaForCausalLM

    n = 400
    back = torch.arange(n)[:, None] - torch.arange(n)
    for slope in (0.1, 0.223, 0.5):
        one = (-slope * back).double().masked_fill(back < 0, -torch.inf).softmax(-1)
        for layers in (2, 4, 8, 16):
            found = rollout([one] * layers, 1.0)[-1].flip(0)
            distance = float((found - decay_profile(layers, slope, n)).abs().sum() / 2)
            yield Deviation("decay-law", f"slope {slope}, {layers} layers, total variation", distance)
            peak = int(found.argmax()) - int(decay_peak(layers, slope))
            yield Deviation("decay-law", f"slope {slope}, {layers} layers, peak", float(peak))
    yield from _bounds()
    yield from _symmetry()
    shape = {"vocab_size": 50, "hidden_size": 32, "initializer_range": 0.3, "bos_token_id": 0, "eos_token_id": None}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        models: dict[str, nn.Module] = {
            "Llama, 4 heads on 2 keys": LlamaForCausalLM(
                LlamaConfig(
                    **shape, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2
                )
            ),
            "BLOOM": BloomForCausalLM(BloomConfig(**shape, n_layer=3, n_head=4)),
        }
        ids = torch.randint(1, 50, (2, 17))
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    for name, model in models.items():
        lens = attach(model.eval())
        x = {"input_ids": ids, "attention_mask": mask}
        profile = position_profile(lens, x, "measured")
        maps = [lens.weights(x, layer).mean(1) for layer in range(3)]
        for row in range(2):
            dense = rollout([one[row] for one in maps], profile.shares[:, row].tolist())[-1]
            yield Deviation("rollout", f"{name}, text {row}", float((dense - profile.mass[row]).abs().max()))


def _bounds() -> Iterator[Deviation]:
    """Compare walks over random attention with the bound of the theorem, for the three masks."""
    n, layers = 16, 30
    scores = torch.randn(layers, n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    causal = torch.ones(n, n, dtype=torch.bool).tril()
    for name, mask, centre in (
        ("causal", causal, 1),
        ("window", causal.triu(-4), 1),
        ("prefix", causal | (torch.arange(n) < PREFIX), PREFIX),
    ):
        weights = list(scores.masked_fill(~mask, -torch.inf).softmax(-1))
        least = float(torch.stack(weights)[:, mask].min())
        if name == "causal":
            for count in (1, 10, layers):
                walk = rollout(weights[:count], 1.0)
                over = max(float(walk[:, j:].sum(1).max()) - survival_bound(least, j, count) for j in range(n))
                yield Deviation("bound", f"causal, {count} layers, above the bound", max(over, 0.0))
        walk = rollout(weights * 40, 1.0)
        yield Deviation("bound", f"{name}, {40 * layers} layers, off the centre", float(walk[:, centre:].sum(1).max()))


def _symmetry() -> Iterator[Deviation]:
    """Shuffle the tokens before the question in a stack without mask and positions."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = AttentionStack(StackShape(layers=4, dim=64, outputs=32, mask="full")).eval()
        order = torch.cat([torch.randperm(2 * SLOTS), torch.tensor([2 * SLOTS])])
    vectors = Bursts().sample(64, seed=0).vectors
    with torch.no_grad():
        moved = (model(vectors) - model(vectors[:, order])).abs().max()
    yield Deviation("symmetry", "4 layers, full mask", float(moved))


def _given(setting: Setting) -> Iterator[Evidence]:
    """Profile a user's model on pieces of the sample text."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(setting.model)
    model = AutoModelForCausalLM.from_pretrained(setting.model).to(setting.device).eval()
    text = files("regard.report").joinpath("sample.txt").read_text(encoding="utf-8")
    ids = tokenizer(text, return_tensors="pt").input_ids[0]
    length = min(TOKENS, len(ids))
    for seed in setting.seeds:
        drawn = torch.randint(0, len(ids) - length + 1, (TEXTS,), generator=torch.Generator().manual_seed(seed))
        texts = torch.stack([ids[start : start + length] for start in drawn.tolist()]).to(setting.device)
        yield from _beside(attach(model, tokenizer), texts, str(setting.model), seed, SAMPLE)


def _theirs(expected: float | None) -> Own:
    return Own(
        model="self-attention networks trained for 100k steps",
        data="in-context retrieval of the authors",
        command="regard.training.recipes.bench_position.BenchPosition(steps=100_000, batch_size=128); models are not public",
        expected=expected,
        within=0.03,
    )


REAL = Own(
    model="bigscience/bloom-560m", data=SAMPLE,
    command="regard papers check position-bias --model bigscience/bloom-560m", expected=None,
)  # fmt: skip
GAP = "share of answers by the first of two equal items less that by the last, new classes"
CLAIMS = (
    Claim(
        name="decay-law", statement="With a distance decay, what a token comes from has its peak t / (e^m - 1) tokens back.",
        reported="theorem of section 4.2, up to constants; with nothing but the decay it is a negative binomial",
        metric="total variation, and difference of peaks in tokens", threshold=0.0, why="it is judged by its equation",
        equation="the rollout of decay attention (400 tokens, 12 cases) against the negative binomial", tolerance=2e-5,
    ),
    Claim(
        name="bound", statement="Attention alone carries all mass to the centre nodes of its mask, exponentially in depth.",
        reported="theorems of section 4.1", metric="mass beyond the bound, and mass off the centre after 1200 layers",
        threshold=0.0, why="it is judged by its equation",
        equation="random attention under causal, window and prefix masks against (1 - (j - 1) e)^t and its limit",
        tolerance=1e-6,
    ),
    Claim(
        name="symmetry", statement="Without mask and positions no place is preferred.", reported="gaps near 0",
        metric="largest change of a logit when the examples are shuffled", threshold=0.0, why="it is judged by its equation",
        equation="logits of a stack of 4 layers before and after", tolerance=1e-4,
    ),
    Claim(
        name="rollout", statement="The context of a token is the product of the layers' attention.",
        reported="a definition; residual connections as in arXiv 2602.16837", metric="deviation", threshold=0.0,
        why="it is judged by its equation",
        equation="position_profile on random Llama and BLOOM models with padding against the dense product",
        tolerance=1e-5,
    ),
    Claim(
        name="sign-causal", statement="A causal mask alone favours the first of two equal examples.",
        reported="+.077 at 2 layers", metric=GAP, threshold=0.0, bench=STACK, own=_theirs(0.077),
        why="any preference for the first; set when it had been seen at one seed",
    ),
    Claim(
        name="depth-causal", statement="The preference for the first grows with depth.",
        reported="+.106 at 6 layers, +.077 at 2", metric=GAP, measure="difference", against="shallow", threshold=0.0,
        controls={"shallow": "2 layers"}, bench=STACK, own=_theirs(0.106), why="any growth; set before",
    ),
    Claim(
        name="sign-decay", statement="A distance decay favours the last of two equal examples in a shallow model.",
        reported="-.073 at 2 layers", metric=GAP, direction="below", threshold=0.0, bench=STACK, own=_theirs(-0.073),
        why="any preference for the last; set before",
    ),
    Claim(
        name="depth-decay", statement="With a distance decay, too, depth moves the preference to the first.",
        reported="+.014 at 6 layers, -.073 at 2", metric=GAP, measure="difference", against="shallow", threshold=0.0,
        controls={"shallow": "2 layers"}, bench=STACK, own=_theirs(0.014), why="any move; set before",
    ),
    Claim(
        name="data", statement="Data that ask for both ends give a preference for the last only with rotary positions.",
        reported="middle less last -.006 with the mask alone, -.241 with rotary embeddings",
        metric=GAP.replace("first", "middle"),
        measure="difference", against="rotary", threshold=0.1, controls={"rotary": "the same data with rotary embeddings"},
        bench=STACK, own=_theirs(-0.006), why="half of what the paper has, set before",
    ),
    Claim(
        name="centres", statement="Sinks are on the centre nodes of the mask: with a prefix, on all of its tokens.",
        reported="by maps, without a number", metric="least attention that a token of the prefix receives, mean over queries",
        measure="ratio", against="other", threshold=1.0, controls={"other": "the most that any later token receives"},
        bench=STACK, own=_theirs(None), why="each of them has to receive more than all others, set before",
    ),
    Claim(
        name="collapse", statement="In a deep trained model, what the last token says comes from the first.",
        reported="for attention alone, which has no residual stream; expected to fail with one (arXiv 2602.16837)",
        metric="mass of the first token by rollout with measured shares", threshold=0.5, bench=LLAMA, own=REAL,
        why="half of all mass, set before",
    ),
    Claim(
        name="influence", statement="A rollout that knows the residual stream ranks tokens by influence better than one without.",
        reported="arXiv 2602.16837, not this paper", metric="Spearman correlation of rollout and gradient norms over tokens",
        measure="difference", against="alone", threshold=0.0, controls={"alone": "rollout of attention alone"},
        bench=LLAMA, own=REAL, why="any gain, set before",
    ),
)  # fmt: skip

CARD = Card(
    slug="position-bias",
    title="On the Emergence of Position Bias in Transformers",
    family="sinks",
    authors=4,
    date=date(2025, 8, 8),
    arxiv="2502.01951",
    sentence=(
        "It reads stacked attention as a random walk on the graph of the mask, and shows that a causal mask alone "
        "drives the walk to the first token as depth grows, while decay with distance pulls the other way."
    ),
    methods=(
        "regard.lens.rollout.position_profile",
        "regard.lens.influence.influence",
        "regard.measure.walk.rollout",
        "regard.measure.walk.decay_profile",
        "regard.measure.walk.rotary_profile",
        "regard.measure.walk.centres",
    ),
    real=(
        '`position_profile(lens, x, "measured")` says where the last token comes from, and prints the share of attention in each '
        "layer; `influence(lens, x)` is what to compare it with. `regard papers check position-bias --model MODEL` does both."
    ),
    claims=CLAIMS,
    check=check,
    cost=Cost(minutes=15, quick_minutes=2, memory_gb=1.5),
)
