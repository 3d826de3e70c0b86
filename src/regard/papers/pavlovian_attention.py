"""Understanding Transformers through the Lens of Pavlovian Conditioning."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from importlib.resources import files
from math import log
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from ..design.conditioning import Respond, Stimuli, blocking, generalisation, responses
from ..design.memory import Memory, softmax_read
from ..design.memory_capacity import (
    cosine,
    expected_cosine,
    guaranteed,
    half_power,
    nearest,
    random_keys,
    recalled,
)
from ..lens import Lens, attach
from ..lens.key_memory import KeyMemory, key_memory
from ..training.cache import trained_model
from ..training.recipes.bench_recall import BenchRecall, recall
from ..training.recipes.bench_sink import BenchSink
from ..worlds.bigram_backcopy import BigramBackcopy
from .cards import Card, Claim, Cost, Deviation, Evidence, Figure, Measured, Own, Setting

VECTORS, RECALL, SINK = "random vectors", "bench-recall", "bench-sink, one GPT-2 layer"
LAWS = ((16, (4, 8, 16, 32, 64)), (64, (16, 32, 64, 128, 256)), (256, (64, 128, 256, 512)))
GUARANTEED = (64, 256, 1024, 4096)
CORRELATED = 0.5
SHARPNESS = 8.0
ORDER: Mapping[str, BenchRecall] = {
    name: BenchRecall(reading=name, cosine=CORRELATED) for name in ("softmax", "hebb", "delta")
}
BATTERY: Mapping[str, BenchRecall] = {
    "hebb": BenchRecall(reading="hebb", cosine=0.0, steps=1000),
    "delta": BenchRecall(reading="delta", cosine=0.0, steps=1000),
    "transformer": BenchRecall(layers=2, mlp=True, cosine=0.0, steps=1000),
}
"""What is trained: one layer of each reading on correlated keys; and for the battery, where stimuli have nothing in common."""


def check(setting: Setting) -> Iterator[Evidence]:
    """Measure laws and conditioning of bare memories and of trained ones, or the keys of a user's model."""
    if setting.model is not None:
        yield from _given(setting.model, setting.device, setting.seeds)
        return
    yield from exact()
    battery: list[list[str | float | int]] = []
    curves: list[list[str | float | int]] = []
    for seed in setting.seeds:
        yield from _laws(seed, 4 if setting.quick else 20)
        yield from _bare(seed, battery, curves)
        yield from _trained(setting, seed, battery)
        recipe = BenchSink(seed=seed, layers=1, positions="learned", steps=60 if setting.quick else 500)
        model = trained_model(recipe, setting.device)
        ids = BigramBackcopy().sample(32, seed).ids
        yield _centred(attach(model), {"input_ids": ids}, SINK, seed)
    yield Figure("battery", ("what", "seed", *BATTERY_COLUMNS), battery)
    yield Figure("generalisation", ("rule", "seed", "cosine to A", "response"), curves)


BATTERY_COLUMNS = (
    "acquisition", "extinction", "blocked", "unblocked", "overshadowed", "inhibited", "latent", "blocking index",
)  # fmt: skip


def exact() -> Iterator[Evidence]:
    """Compare chunked writing with its definitions."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3, 130, n, generator=generator, dtype=torch.float64) for n in (16, 16, 9))
    k = k / k.norm(dim=-1, keepdim=True)
    linear = (q @ k.mT).tril() @ v
    yield Deviation("hebbian", "three ways, 130 pairs", float((Memory().scan(q, k, v)[0] - linear).abs().max()))
    gated = Memory("gated-delta", 0.6, 0.9)
    state, outs = v.new_zeros(3, 9, 16), []
    for t in range(130):
        state = gated.write(state, k[:, t], v[:, t])
        outs.append((state @ q[:, t, :, None])[..., 0])
    yield Deviation("delta", "step by step", float((gated.scan(q, k, v)[0] - torch.stack(outs, 1)).abs().max()))
    yield Deviation("delta", "Qwen3-Next", qwen())


def qwen() -> float:
    """Return how far the delta rule is from the gated delta rule that transformers has for Qwen3-Next, without its gate."""
    from transformers.models.qwen3_next.modeling_qwen3_next import torch_recurrent_gated_delta_rule as theirs

    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 40, 3, 8, generator=generator) for _ in range(3))  # [batch, token, head, dim]
    beta = torch.full((2, 40, 3), 0.7)
    k = torch.nn.functional.normalize(k, dim=-1)
    found, _ = theirs(
        q, k, v, g=torch.zeros_like(beta), beta=beta, initial_state=None, output_final_state=False,
        use_qk_l2norm_in_kernel=False,
    )  # fmt: skip
    mine, _ = Memory("delta", 0.7).scan((q / 8**0.5).transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    return float((found.transpose(1, 2) - mine).abs().max())


def _laws(seed: int, draws: int) -> Iterator[Evidence]:
    generator = torch.Generator().manual_seed(seed)

    def pairs(n: int, d: int, same: float = 0.0) -> tuple[Tensor, Tensor]:
        return random_keys((draws, n, d), generator, same), random_keys((draws, n, d), generator)

    def fidelity(memory: Memory, k: Tensor, v: Tensor) -> float:
        return float(cosine(recalled(memory, k, v), v).mean())

    off = [
        abs(fidelity(Memory(), *pairs(n, d)) - expected_cosine(n, d)) for d, several in LAWS for n in several if n > 4
    ]
    yield Measured("crosstalk", VECTORS, seed, max(off))
    halves = [half_power(random_keys((draws, d, d), generator)) for d, _ in LAWS]
    yield Measured("average-capacity", VECTORS, seed, abs(_slope([d for d, _ in LAWS], halves) - 1))
    sure = [guaranteed(random_keys((5 * draws, 48, d), generator)) for d in GUARANTEED]
    yield Measured("guaranteed-capacity", VECTORS, seed, abs(_slope(GUARANTEED, sure) - 0.5))
    k, v = pairs(64, 64)
    yield Measured("degrades", VECTORS, seed, 1 - float(nearest(recalled(Memory(), k, v), v).float().mean()))
    hebb = {"hebb": fidelity(Memory(), k, v)}
    yield Measured("delta-in-general", VECTORS, seed, fidelity(Memory("delta"), k, v), hebb)
    k, v = pairs(32, 64, CORRELATED)
    delta, hebb = fidelity(Memory("delta"), k, v), {"hebb": fidelity(Memory(), k, v)}
    yield Measured("delta-correlated", VECTORS, seed, delta, hebb)
    soft = float(cosine(softmax_read(k, k, v, SHARPNESS), v).mean())
    yield Measured("softmax-read", VECTORS, seed, soft, {"delta": delta})
    keys, values = zip(*(pairs(64, 64) for _ in range(4)), strict=True)
    heads = [recalled(Memory(), one, values[0]) for one in keys]
    several = float(cosine(torch.stack(heads).mean(0), values[0]).mean())
    yield Measured("redundancy", VECTORS, seed, abs(several - expected_cosine(64, 64, heads=4)))
    single, shared = (float(cosine(one, values[0]).mean()) for one in (heads[0], torch.stack([heads[0]] * 4).mean(0)))
    yield Measured("shared-keys", VECTORS, seed, abs(shared - single), {"own": abs(several - single)})
    chained, alone = chain(generator, 40 * draws)
    yield Measured("depth", VECTORS, seed, abs(chained - alone**DEPTH))


DEPTH = 4


def chain(generator: torch.Generator, draws: int, pairs: int = 24, dim: int = 16) -> tuple[float, float]:
    """Return how often `DEPTH` reads in a row are right, each of a memory of its own, and how often a single read is.

    Each read is set to the nearest stored value, which is the next memory's key of the same number.
    """
    at = torch.zeros(draws, dtype=torch.long)
    keys = random_keys((draws, pairs, dim), generator)
    right = []
    for _ in range(DEPTH):
        values = random_keys((draws, pairs, dim), generator)
        read = recalled(Memory(), keys, values)
        right.append(float(nearest(read, values).float().mean()))
        found = (read @ values.mT).argmax(-1)
        at = found[torch.arange(draws), at]
        keys = values
    return float((at == 0).float().mean()), mean(right)


def _slope(x: Any, y: Any) -> float:
    """The slope of logarithms."""
    xs, ys = [log(one) for one in x], [log(one) for one in y]
    return sum((a - mean(xs)) * (b - mean(ys)) for a, b in zip(xs, ys, strict=True)) / sum(
        (a - mean(xs)) ** 2 for a in xs
    )


def stimuli(seed: int, count: int, dim: int, others: int) -> Stimuli:
    """Return orthonormal stimuli, `us` and other values in all directions."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(count, dim, others + 3, generator=generator))[0].mT
    us, values = random_keys((count, 1, dim), generator)[:, 0], random_keys((count, others, dim), generator)
    return Stimuli(basis[:, 0], basis[:, 1], basis[:, 2], us, basis[:, 3:], values)


def _bare(seed: int, battery: list[Any], curves: list[Any]) -> Iterator[Evidence]:
    """The battery of memories that are not trained: eta 0.3, 30 trials each phase."""
    shown, found = stimuli(seed, 64, 64, 8), {}
    for rule in ("hebb", "delta"):
        memory = Memory(rule, 0.3)

        def respond(keys: Tensor, values: Tensor, probe: Tensor, memory: Memory = memory) -> Tensor:
            return (memory.scan(keys, keys, values)[1] @ probe[..., None])[..., 0]

        found[rule] = _told(respond, shown, 30, f"bare {rule}", seed, battery)
        steps = (0.0, 0.25, 0.5, 0.75, 1.0)
        curves += [[rule, seed, c, r] for c, r in zip(steps, generalisation(respond, shown, 30, steps), strict=True)]
    yield Measured("blocking", VECTORS, seed, found["delta"], {"hebb": found["hebb"]})


def _told(respond: Respond, shown: Stimuli, trials: int, name: str, seed: int, battery: list[Any]) -> float:
    """The blocking index; the whole battery goes to the table."""
    said = responses(respond, shown, trials)
    index = blocking(said)
    battery.append([name, seed, *(float(one.mean()) for one in said.values()), index])
    return index


def _trained(setting: Setting, seed: int, battery: list[Any]) -> Iterator[Evidence]:
    def model(recipe: BenchRecall) -> Any:
        recipe = replace(recipe, seed=seed, steps=40 if setting.quick else recipe.steps)
        return trained_model(recipe, setting.device)

    rate = {}
    for name, recipe in ORDER.items():
        rate[name] = recall(model(recipe), recipe.draw(512, seed, recipe.pairs))
    yield Measured("trained-delta", RECALL, seed, rate["delta"], {"hebb": rate["hebb"]})
    yield Measured("trained-softmax", RECALL, seed, rate["softmax"], {"delta": rate["delta"]})
    index = {}
    for name, recipe in BATTERY.items():
        trained = model(recipe)
        shown = stimuli(seed, 256, recipe.dim, 6)
        for layer in range(recipe.layers):

            def respond(keys: Tensor, values: Tensor, probe: Tensor, layer: int = layer, of: Any = trained) -> Tensor:
                with torch.no_grad():
                    said: Tensor = of.per_layer(keys, values, probe)[layer]
                return said

            index[name] = _told(respond, shown, 8, f"trained {name}, layer {layer}", seed, battery)
    yield Measured("trained-blocking", RECALL, seed, index["delta"], {"hebb": index["hebb"]})
    yield Measured("transformer", RECALL, seed, index["transformer"], {"delta": index["delta"]})


def _centred(lens: Lens, x: Mapping[str, Tensor], name: str, seed: int) -> Measured:
    found: list[KeyMemory] = []
    for layer in range(lens.model.config.get_text_config().num_hidden_layers):  # type: ignore[union-attr,operator]
        found += key_memory(lens, x, layer)
    plain, centred = (mean(one.half_power for one in found if one.centred is which) for which in (False, True))
    return Measured("centred-keys", name, seed, centred, {"plain": plain}, "" if name == SINK else SAMPLE)


def _given(path: str, device: str, seeds: tuple[int, ...]) -> Iterator[Evidence]:
    """The capacity of the keys of a user's model, on stretches of the sample text."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    lens = attach(AutoModel.from_pretrained(path).to(device).eval(), tokenizer)
    text = files("regard.report").joinpath("sample.txt").read_text(encoding="utf-8")
    ids = tokenizer(text, return_tensors="pt").input_ids
    tokens = min(256, ids.shape[1] // len(seeds))
    for seed in seeds:
        part = ids[:, seed * tokens : (seed + 1) * tokens].to(device)
        yield _centred(lens, {"input_ids": part}, path, seed)


SAMPLE = "the sample text of regard"


def _own(command: str = "") -> Own:
    return Own(
        model="MODEL", data=SAMPLE, command=command or "the paper is theory: it has no model or data of its own that we know",
        expected=None,
    )  # fmt: skip


def _law(name: str, statement: str, reported: str, metric: str, why: str, **more: Any) -> Claim:
    return Claim(
        name=name, statement=statement, reported=reported, metric=metric, why=why, own=_own(),
        **({"bench": VECTORS} | more),
    )  # fmt: skip


HEBB = {"hebb": "the Hebbian memory"}
NONE = "no number known"
CLAIMS = (
    _law(
        "hebbian", "Linear attention is a Hebbian memory that is read.", "a derivation", "deviation",
        "it is judged by its equation", bench="", threshold=0.0, tolerance=1e-10,
        equation="outputs of a memory written in chunks against those of masked products, float64",
    ),
    _law(
        "delta", "The delta rule writes what was not foreseen.", "suggested as a better rule", "deviation",
        "it is judged by its equation", bench="", threshold=0.0, tolerance=1e-5,
        equation="chunked writing against pair by pair, and against transformers' gated delta rule of Qwen3-Next",
    ),
    _law(
        "crosstalk", "Interference grows with the number of pairs over the dimension: cosine 1 / sqrt(1 + (n - 1) / d).",
        "average-case fidelity at O(d) pairs", "largest deviation of the mean cosine, d 16 to 256, n from d/4 to 4d",
        "0.02, as set in our notes; a pilot had 0.01", direction="below", threshold=0.02,
    ),
    _law(
        "average-capacity", "Half the power is lost at a number of pairs that grows as d.", "O(d)",
        "distance from 1 of the log-log slope of half-power pairs, d 16 to 256",
        "set before", direction="below", threshold=0.1,
    ),
    _law(
        "guaranteed-capacity", "Retrieval without interference is guaranteed for O(sqrt d) pairs.", "O(sqrt d)",
        "distance from 1/2 of the log-log slope of guaranteed pairs, d 64 to 4096",
        "set before; a slope near 1 would speak against it", direction="below", threshold=0.1,
    ),
    _law(
        "degrades", "Interference degrades retrieval beyond O(sqrt d) pairs.", "O(sqrt d)",
        "share of values that are not the nearest stored one, n = d = 64",
        "a twentieth at 8 times sqrt d; we expect none, since the right one is still nearest", threshold=0.05,
    ),
    _law(
        "depth", "Over layers that each need a right read, success is that of one read to their number.", NONE,
        f"distance of the share of right chains from that power, {DEPTH} reads, n = 24, d = 16",
        "three standard errors of 800 chains; set before", direction="below", threshold=0.05,
    ),
    _law(
        "redundancy", "Heads with keys of their own divide interference by their number.", NONE,
        "deviation of the mean cosine of 4 heads from 1 / sqrt(1 + (n - 1) / (4 d)), n = d = 64",
        "that of one head", direction="below", threshold=0.02,
    ),
    _law(
        "shared-keys", "Heads that share keys gain nothing.", NONE, "gain of 4 heads in mean cosine, n = d = 64",
        "rounding", direction="below", threshold=0.001, controls={"own": "gain of 4 heads with keys of their own"},
    ),
    _law(
        "delta-correlated", "The delta rule retrieves better where keys are alike.", "suggested, no number",
        "mean cosine, n = 32, d = 64, mean cosine of keys 0.5",
        "half of what was seen before", measure="difference", against="hebb", controls=HEBB, threshold=0.1,
    ),
    _law(
        "delta-in-general", "The delta rule retrieves better.", "suggested, no number",
        "mean cosine, n = d = 64, random keys",
        "any gain; we expect none after one pass", measure="difference", against="hebb", controls=HEBB, threshold=0.0,
    ),
    _law(
        "softmax-read", "Competition at the read keeps correlated keys apart better than the delta rule.", NONE,
        "mean cosine, n = 32, d = 64, mean cosine of keys 0.5, beta 8",
        "half of what was seen before", measure="difference", against="delta",
        controls={"delta": "the delta rule"}, threshold=0.2,
    ),
    _law(
        "blocking", "The delta rule shows blocking as animals do, and Hebb's does not.", NONE,
        "blocking index, orthonormal stimuli, eta 0.3, 30 trials each phase",
        "set before: complete blocking is 1", measure="difference", against="hebb", controls=HEBB, threshold=0.9,
    ),
    _law(
        "trained-delta", "Trained by itself, a delta-rule layer recalls more than a Hebbian one.", "suggested, no number",
        "recall of 16 pairs, d = 16, mean cosine of keys 0.5",
        "any gain; a pilot had none", bench=RECALL, measure="difference", against="hebb", controls=HEBB, threshold=0.0,
    ),
    _law(
        "trained-softmax", "Trained by itself, a softmax layer recalls at least as much as a delta-rule one.", NONE,
        "recall of 16 pairs, d = 16, mean cosine of keys 0.5",
        "any gain; a pilot had 0.2", bench=RECALL, measure="difference", against="delta",
        controls={"delta": "the delta rule"}, threshold=0.0,
    ),
    _law(
        "trained-blocking", "A trained delta-rule layer shows blocking, a trained Hebbian one does not.", NONE,
        "blocking index, 8 trials each phase, 6 other pairs",
        "half; a pilot had 0.7", bench=RECALL, measure="difference", against="hebb", controls=HEBB, threshold=0.5,
    ),
    _law(
        "transformer", "Attention learns as Hebb's rule says, so a trained two-layer transformer shows no blocking.",
        "each attention operation is read as Hebbian", "blocking index after the last layer, 8 trials, 6 other pairs",
        "a fifth of complete blocking; a pilot had 0.004", bench=RECALL, direction="below", threshold=0.2,
        controls={"delta": "a trained delta-rule layer"},
    ),
    Claim(
        name="centred-keys", statement="Keys of trained heads have a direction in common; without it a linear memory holds more.",
        reported="not in the paper", metric="half-power pairs of keys less their mean over the text, mean over heads",
        why="set before: half as many again", measure="ratio", against="plain", controls={"plain": "the keys as they are"},
        threshold=1.5, bench=SINK, own=_own("regard papers check pavlovian-attention --model MODEL"),
    ),
)  # fmt: skip
CARD = Card(
    slug="pavlovian-attention",
    title="Understanding Transformers through the Lens of Pavlovian Conditioning",
    family="sinks",
    authors=1,
    date=date(2025, 8, 5),
    arxiv="2508.08289",
    sentence=(
        "It reads linear attention as conditioning: every key and value is a trial, a query is the test; and it "
        "derives from this how many pairs a head can hold and how errors build up."
    ),
    methods=(
        "regard.design.memory.Memory",
        "regard.design.delta_rule.DeltaRule",
        "regard.design.memory_capacity.guaranteed",
        "regard.design.memory_capacity.half_power",
        "regard.design.conditioning.responses",
        "regard.lens.key_memory.key_memory",
    ),
    real=(
        "`key_memory(lens, x, layer)` says how many pairs the keys of each head would hold in a linear memory, as they are and "
        "centred; `DeltaRule().put(model)` gives a model of transformers the delta rule; `responses` runs the battery on "
        "anything that answers to a probe after pairs."
    ),
    claims=CLAIMS,
    check=check,
    cost=Cost(minutes=6, quick_minutes=1.5, memory_gb=1),
)
