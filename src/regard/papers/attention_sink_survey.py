"""Attention Sink in Transformers: A Survey on Utilization, Interpretation, and Mitigation."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..design.attention import Given, Heads, Learnt
from ..design.clipped import ClippedSoftmax
from ..design.key_bias import KeyBias, KeyValueBias, SoftmaxOffByOne
from ..design.sink_cache import KeepSinkCache
from ..design.sink_logit import SinkLogit
from ..design.softpick import Softpick
from ..design.stored import FILE, Design, described, load
from ..edit import BiasKeys, ScaleSegments
from ..lens import attach
from ..measure import SinkMass, SinkRate
from ..training.cache import trained_model
from ..training.recipe import HELD_OUT
from ..training.recipes.bench_sink import BenchSink
from .cards import Card, Claim, Cost, Deviation, Entry, Evidence, Figure, Measured, Own, Setting

BENCH = "bench-sink, one GPT-2 layer"
TEXTS, STREAMED = 128, 64
ARMS: dict[str, Design | None] = {
    "softmax": None,
    "off by one": SoftmaxOffByOne(),
    "sink logit": SinkLogit(),
    "key-value bias": KeyValueBias(),
    "clipped softmax": ClippedSoftmax(),
    "softpick": Softpick(),
}
KEPT = {"keep": (1, 8), "window": (0, 9), "full": (0, 99)}
"""Sinks and window of the caches that a bench model is streamed through: keep and window hold as many tokens."""
USERS_SINKS, USERS_WINDOW, USERS_TOKENS = 4, 1020, 4096


def check(setting: Setting) -> Iterator[Evidence]:
    """Compare what the survey says are the same, and what is trained with a sink and without; or stream a user's model."""
    if setting.model is not None:
        yield from _users(setting.model, setting)
        return
    yield from _equations()
    rows: list[list[str | float | int]] = []
    for seed in setting.seeds:
        rates, losses = {}, {}
        for arm in ARMS:
            recipe = recipe_of(arm, seed, setting.quick)
            model = trained_model(recipe, setting.device)
            with torch.no_grad():
                evaluated = recipe.evaluate(model)
            ids = recipe.language.sample(TEXTS, HELD_OUT).ids.to(setting.device)
            rates[arm], mass = sinks(model, ids)
            losses[arm], norm = evaluated["loss"], value_norm(model, ids)
            rows.append([arm, seed, losses[arm], evaluated["copy_accuracy"], rates[arm], mass, norm])
            if arm == "softmax":
                yield Measured("drain", BENCH, seed, norm)
                texts = recipe.language.sample(STREAMED, HELD_OUT)
                kept = {name: stream_loss(model, texts.ids.to(setting.device), *sizes) for name, sizes in KEPT.items()}
                yield Measured("eviction", BENCH, seed, kept["window"], {"keep": kept["keep"]})
                yield Measured("keep", BENCH, seed, kept["keep"], {"full": kept["full"]})
        for arm in list(ARMS)[1:]:
            yield Measured(f"{_slug(arm)}-sink", BENCH, seed, rates[arm], {"softmax": rates["softmax"]})
            yield Measured(f"{_slug(arm)}-loss", BENCH, seed, losses[arm], {"softmax": losses["softmax"]})
    columns = ["attention", "seed", "loss", "copy accuracy", "sink rate, %", "sink mass", "norm of BOS's value"]
    yield Figure("arms", columns, rows)


def recipe_of(arm: str, seed: int, quick: bool = False) -> BenchSink:
    """Return what an arm of `ARMS` is trained from."""
    design = ARMS[arm]
    made = BenchSink(
        seed=seed, layers=1, positions="learned", design=None if design is None else described(design)
    )  # fmt: skip
    return replace(made, steps=60) if quick else made


def sinks(model: nn.Module, ids: Tensor) -> tuple[float, float]:
    """Return the sink rate of the first token in %, and its mass."""
    found = attach(model, check=False).measure({"input_ids": ids}, [SinkRate(), SinkMass()])
    return 100 * float(found["sink_rate"].mean.mean()), float(found["sink_mass"].mean.mean())


def value_norm(model: nn.Module, ids: Tensor) -> float:
    """Return the norm of the first token's value over the mean of the others, mean over layers, heads and texts."""
    lens, x = attach(model, check=False), {"input_ids": ids}
    names = [f"v.{site.layer}" for site in lens.measure(x, [SinkMass()]).sites]
    norms = [values.float().norm(dim=-1) for values in lens.cache(x, names).values()]
    return float(torch.stack([(norm[..., 0] / norm[..., 1:].mean(-1)).mean() for norm in norms]).mean())


@torch.no_grad()
def stream_loss(model: Any, ids: Tensor, sinks: int, window: int, renumber: bool = False) -> float:
    """Return the loss per token, in nats, of texts [batch, token] that go through a cache of this size one token at a time."""
    cache = KeepSinkCache(model, sinks, window, renumber=renumber)
    total = 0.0
    for at in range(ids.shape[1] - 1):
        logits = model(input_ids=ids[:, at : at + 1], past_key_values=cache, use_cache=True).logits[:, -1].float()
        total += float(nn.functional.cross_entropy(logits, ids[:, at + 1]))
    return total / (ids.shape[1] - 1)


def _slug(arm: str) -> str:
    return arm.replace(" ", "-")


@torch.no_grad()
def _equations() -> Iterator[Evidence]:
    """Compare techniques that the survey lists apart, and which are one."""
    from transformers.models.gpt_oss.modeling_gpt_oss import eager_attention_forward

    generator = torch.Generator().manual_seed(0)
    q, k, v, star = (
        torch.randn(2, heads, tokens, 8, generator=generator) for heads, tokens in ((4, 13), (2, 13), (2, 13), (2, 1))
    )
    given = Given(q, k, v, torch.ones(13, 13, dtype=torch.bool).tril(), 8**-0.5, 0.0)
    logit, bias, none = (Learnt(one, Heads(4, 2, 8), q) for one in (SinkLogit(), KeyBias(), SoftmaxOffByOne()))
    logit["b"].zero_()
    one = SinkLogit().attend(given, logit)
    yield Deviation("off-by-one", "grouped heads", float((one - SoftmaxOffByOne().attend(given, none)).abs().max()))
    logit["b"].copy_(torch.randn(4, generator=generator))
    module = nn.Module()
    module.sinks, module.num_key_value_groups = nn.Parameter(logit["b"].clone()), 2  # type: ignore[assignment]
    added = torch.zeros(1, 1, 13, 13).masked_fill(~given.mask, torch.finfo(torch.float32).min)
    own, _ = eager_attention_forward(module.eval(), q, k, v, added, given.scale)
    difference = own.transpose(1, 2) - SinkLogit().attend(given, logit)
    yield Deviation("gpt-oss", "grouped heads", float(difference.abs().max()))
    bias["k"].copy_(star[0])
    score = given.scale * (q * bias["k"].repeat_interleave(2, 0)).sum(-1, keepdim=True)
    written = given.sum(torch.cat([given.scores(), score], -1).softmax(-1)[..., :-1])
    yield Deviation("key-bias", "grouped heads", float((KeyBias().attend(given, bias) - written).abs().max()))
    model, ids = _llama()
    lens = attach(model)
    found = []
    for edit in (BiasKeys.by_factor("first", 0.3), ScaleSegments({"first": 0.3}, "one")):
        with lens.edit(edit):
            found.append(model(input_ids=ids).logits)
    yield Deviation("zero-tuning", "Llama, factor 0.3", float((found[0] - found[1]).abs().max()))
    cache, at = KeepSinkCache(model, 2, 4), torch.arange(ids.shape[1])
    stream = [model(input_ids=ids[:, place : place + 1], past_key_values=cache).logits for place in at.tolist()]
    back = at[:, None] - at
    seen = (back >= 0) & ((at < 2) | (back < 4))
    whole = model(input_ids=ids, attention_mask=seen[None, None].expand(len(ids), 1, -1, -1)).logits
    yield Deviation("keep-mask", "Llama, 2 sinks and a window of 4", float((torch.cat(stream, 1) - whole).abs().max()))


def _llama() -> tuple[Any, Tensor]:
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, initializer_range=0.2, eos_token_id=None,
        )  # fmt: skip
        return LlamaForCausalLM(config).eval(), torch.randint(0, 50, (2, 17))


def _users(path: str, setting: Setting) -> Iterator[Evidence]:
    """Stream a text through a user's model, with sinks kept and without, and say how much of a sink it has."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    designed = (Path(path) / FILE).is_file()
    model: Any = load(path) if designed else AutoModelForCausalLM.from_pretrained(path, dtype="auto")
    model = model.to(setting.device).eval()
    if setting.data is None:
        text = files("regard.report").joinpath("sample.txt").read_text(encoding="utf-8")
    else:
        text = Path(setting.data).read_text(encoding="utf-8")
    data = SAMPLE if setting.data is None else Path(setting.data).name
    ids = tokenizer(text, return_tensors="pt").input_ids[:, :USERS_TOKENS].to(setting.device)
    window, renumber = min(USERS_WINDOW, ids.shape[1] // 4), _renumbers(model)
    kept = stream_loss(model, ids, USERS_SINKS, window, renumber)
    lost = stream_loss(model, ids, 0, USERS_SINKS + window, renumber)
    yield Measured("eviction", path, 0, lost, {"keep": kept}, data=data)
    yield Measured("keep", path, 0, kept, {"full": stream_loss(model, ids, 0, ids.shape[1])}, data=data)
    yield Measured("drain", path, 0, value_norm(model, ids[:, :512]), data=data)
    rate, mass = sinks(model, ids[:, :512])
    yield Figure("own-model", ["what", "value"], [["sink rate, %", rate], ["sink mass", mass], ["window", window]])


def _renumbers(model: Any) -> bool:
    """Whether a cache can renumber positions, as in the paper of streaming; otherwise they go on counting."""
    try:
        KeepSinkCache(model, renumber=True)
    except ValueError:
        return False
    return True


SAMPLE, BOOK = "sample text", "pg19.txt"


def _own(data: str = BOOK, model: str = "meta-llama/Llama-2-7b-hf") -> Own:
    return Own(
        model=model, data=data, expected=None,
        command=f"regard papers check attention-sink-survey --model {model} --data {data} --device cuda",
    )  # fmt: skip


SOFTMAX = {"softmax": "the same model with softmax attention"}
RATE = "share of texts and heads in which BOS is a sink (eps 0.3, 32 tokens), %"
LOSS = "held-out loss, nats per token"
REPORTED = {
    "off by one": "First-token attention from 65 to 3.3 % in GPT-2 medium.",
    "sink logit": "gpt-oss has it; no comparison is known.",
    "key-value bias": "The sink leaves the first token.",
    "clipped softmax": "No number is known; outliers go.",
    "softpick": "No number is known; exact zeros.",
}


def _equation(name: str, statement: str, equation: str, tolerance: float = 1e-5) -> Claim:
    return Claim(
        name=name, statement=statement, reported="It follows from the definitions.", metric="largest deviation",
        threshold=0.0, why="It is judged by its equation; the tolerance is rounding in float32.", equation=equation,
        tolerance=tolerance,
    )  # fmt: skip


def _arm(arm: str) -> tuple[Claim, Claim]:
    own = _own("models trained with each attention, which the survey does not release", "PATH")
    return (
        Claim(
            name=f"{_slug(arm)}-sink", statement=f"With {arm} attention no sink of BOS emerges.", reported=REPORTED[arm],
            metric=RATE, direction="below", threshold=10.0, why="Far below a sink; set before, as for key biases.",
            controls=SOFTMAX, bench=BENCH, own=own,
        ),
        Claim(
            name=f"{_slug(arm)}-loss", statement=f"Attention without a sink costs no loss: {arm}.",
            reported="Parity, in the papers that it sums up.", metric=LOSS, measure="difference", against="softmax",
            direction="below", threshold=0.06, why="Set before, by the specification.", controls=SOFTMAX, bench=BENCH,
            own=own,
        ),
    )  # fmt: skip


CARD = Card(
    slug="attention-sink-survey",
    title="Attention Sink in Transformers: A Survey on Utilization, Interpretation, and Mitigation",
    family="sinks",
    authors=None,
    date=date(2026, 4, 10),
    arxiv="2604.10098",
    sentence=(
        "It orders what is known of attention sinks by three questions: what they are good for, why they arise, "
        "and how they are removed."
    ),
    methods=(
        "regard.design.sink_cache.KeepSinkCache",
        "regard.design.softpick.Softpick",
        "regard.design.clipped.ClippedSoftmax",
        "regard.design.sink_logit.SinkLogit",
        "regard.design.key_bias.SoftmaxOffByOne",
    ),
    real=(
        "`docs/howto/sink-survey.md` has what does each technique here. `regard papers check attention-sink-survey --model PATH "
        "--data TEXT` streams a text through a model with 4 sinks kept and without."
    ),
    claims=(
        _equation("off-by-one", "Softmax with a 1 in its denominator is a sink logit of 0.", "the outputs of both designs"),
        _equation("gpt-oss", "A sink logit is what gpt-oss has.", "outputs, and those of transformers' eager gpt-oss"),
        _equation("key-bias", "A key bias is a sink logit that depends on the query.", "outputs, and softmax written out"),
        _equation(
            "zero-tuning", "To scale the first token's weight and divide by the sum is a bias of its score.",
            "logits under BiasKeys and under ScaleSegments", 1e-4,
        ),
        _equation("keep-mask", "A cache that keeps sinks is a mask.", "logits through the cache, and with a dense mask", 1e-4),
        Claim(
            name="drain", statement="A sink's value is small: to rest on it is to do nothing.",
            reported="No number is known.", metric="norm of the value of BOS over the mean of the others",
            direction="below", threshold=0.5, why="Half, set before.", bench=BENCH, own=_own(),
        ),
        Claim(
            name="eviction", statement="To drop the sink from the cache breaks the model.",
            reported="Perplexity 5158 (0 + 1024 tokens) against 5.40 (4 + 1020).", metric=LOSS, measure="difference",
            against="keep", threshold=0.05, why="A twentieth of a nat, set before; the paper's is 6.9.",
            controls={"keep": "the same cache with BOS kept in place of the oldest token"}, bench=BENCH, own=_own(),
        ),
        Claim(
            name="keep", statement="With the sink kept, a window does as well as the whole text.",
            reported="Perplexity 5.40 against 5.41.", metric=LOSS, measure="difference", against="full",
            direction="below", threshold=0.06, why="As for designs, set before.",
            controls={"full": "a cache of all tokens"}, bench=BENCH, own=_own(),
        ),
        *(claim for arm in list(ARMS)[1:] for claim in _arm(arm)),
    ),
    check=check,
    cost=Cost(minutes=8, quick_minutes=2, memory_gb=1),
    entries=tuple(
        Entry(
            board="sink-mitigation", name=arm, method=ARMS[arm], trials=tuple({"lr": lr} for lr in (3e-3, 6e-3, 1.2e-2))
        )
        for arm in ("clipped softmax", "softpick")
    ),
)  # fmt: skip
