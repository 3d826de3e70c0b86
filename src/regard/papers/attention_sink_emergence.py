"""When Attention Sink Emerges in Language Models: An Empirical View."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import date
from importlib.resources import files
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..core.call import Call
from ..core.terms import Col, Lse, Term
from ..design.fixed_value import FixedValueBias
from ..design.key_bias import KeyBias, KeyValueBias, ScaledSoftmax, ValueBias
from ..design.normaliser import EluAttention, EluKernelAttention, SigmoidAttention
from ..design.p_normalised import PNormalised
from ..design.shared_bias import SharedKeyValueBias
from ..design.signed import SignedAttention, distributed, shares
from ..design.stored import Design, described
from ..lens import attach
from ..measure import SinkRate, SinkScore, SinkShare
from ..training import AdamW, trained_model
from ..training.recipes.bench_sink import BenchSink
from ..worlds.bigram_backcopy import BigramBackcopy
from .cards import Card, Claim, Cost, Deviation, Entry, Evidence, Figure, Measured, Own, Setting

BENCH = "bench-sink, one GPT-2 layer"
EPS = 0.3
TEXTS = 256
UNSEEN = 77
TOKENS = 64
OWN_TEXTS = 20
LR = 3e-3


@dataclass(frozen=True)
class Arm:
    """What is trained: a design, None for softmax; the index of BOS in each text; learning rate and weight decay."""

    design: Design | None = None
    bos: int = 0
    lr: float = LR
    decay: float = AdamW.weight_decay


ARMS = {
    "softmax": Arm(),
    "sigmoid": Arm(SigmoidAttention()),
    "sigmoid, sum": Arm(SigmoidAttention(normalise=True)),
    "elu": Arm(EluAttention()),
    "elu kernel, sum": Arm(EluKernelAttention(normalise=True)),
    "identity": Arm(SignedAttention()),
    "mlp": Arm(SignedAttention(kernel="mlp")),
    "key bias": Arm(KeyBias()),
    "key-value bias": Arm(KeyValueBias()),
    "shared bias": Arm(SharedKeyValueBias()),
    "fixed value": Arm(FixedValueBias(norm=20.0)),
    "value bias": Arm(ValueBias()),
    "scale 0.1": Arm(ScaledSoftmax(0.1)),
    "scale 2": Arm(ScaledSoftmax(2.0)),
    "p = 2": Arm(PNormalised(2.0)),
    "BOS third": Arm(bos=2),
    "lr / 4": Arm(lr=LR / 4),
    "lr x 2": Arm(lr=2 * LR),
    # lr * decay * steps as with the paper's 4e-4, 20,000 steps, and decays of 0, 0.5 and 5.
    "no decay": Arm(decay=0.0),
    "decay 0.5": Arm(decay=2.7),
    "decay 5": Arm(decay=27.0),
}
SAMPLE, RANDOM, REPEATED = "the sample text of regard", "random tokens", "one random token repeated"


def _own(data: str, expected: float | None, within: float, model: str = "meta-llama/Meta-Llama-3-8B") -> Own:
    return Own(
        model=model,
        data=data,
        command=f"regard papers check attention-sink-emergence --model {model}",
        expected=expected,
        within=within,
    )


def _trained(expected: float | None, within: float = 0.0) -> Own:
    """The paper's own small models, which were not released: who trains one has its number to compare with, no row here."""
    return _own("models trained as in section 4, which are not released", expected, within, "PATH")


RATE = "share of texts and heads in which a token is a sink (eps 0.3, 32 tokens), %"
SOFTMAX = {"softmax": "the same model with softmax attention"}
CLAIMS = (
    Claim(
        name="softmax",
        statement="A trained softmax model has an attention sink at the first token.",
        reported="Llama-3-8B 99.02 %, Llama-2-7B 92.47 %, GPT2-XL 77.00 %; 18.18 % in its own small model",
        metric=RATE,
        threshold=25.0,
        why="set before: half of what a pilot gave",
        bench=BENCH,
        own=_own("100 texts of the Pile", 99.02, 1.5),
    ),
    Claim(
        name="dormant",
        statement="A head rests on the first token where it has nothing to do.",
        reported="no number: the sink is said to hold spare attention",
        metric="weight on BOS, of queries that are plain over that of queries that are triggers",
        measure="ratio",
        against="trigger",
        controls={"trigger": "queries that have a token to copy"},
        threshold=3.0,
        why="set before: a third of what a pilot gave",
        bench=BENCH,
        own=_trained(None),
    ),
    Claim(
        name="sigmoid",
        statement="Without competition between keys no sink emerges: sigmoid attention without a sum, by proxy scores.",
        reported="0.44 % against 18.18 % with softmax",
        metric=RATE,
        direction="below",
        threshold=5.0,
        why="set before: far below the threshold for a sink",
        controls=SOFTMAX,
        bench=BENCH,
        own=_trained(0.44, 2.0),
    ),
    Claim(
        name="sigmoid-sum",
        statement="Competition is what makes the sink: with sigmoid weights divided by their sum it is back.",
        reported="30.24 %",
        metric=RATE,
        threshold=25.0,
        why="that of softmax; set when softmax, sigmoid and key bias had been seen at one seed",
        controls={"sigmoid": "sigmoid attention without a sum"},
        bench=BENCH,
        own=_trained(30.24, 8.0),
    ),
    Claim(
        name="key-bias",
        statement="A learnt key bias takes the sink from the first token.",
        reported="0.00 % on the first token, 73.34 % on the bias",
        metric=RATE,
        direction="below",
        threshold=10.0,
        why="set before: far below the threshold for a sink",
        controls=SOFTMAX,
        bench=BENCH,
        own=_trained(0.0, 2.0),
    ),
    *(
        Claim(
            name=name,
            statement=statement,
            reported=f"{reported:.2f} %, softmax 18.18 %",
            metric=RATE,
            direction="below",
            threshold=at_most,
            why="those of sigmoid and key bias; a pilot of one other seed had been seen",
            controls=SOFTMAX,
            bench=BENCH,
            own=_trained(reported, 2.0),
        )
        for name, statement, reported, at_most in (
            ("elu", "Another function without a sum, elu, has no sink, by proxy scores.", 0.80, 5.0),
            (
                "identity",
                "Products of queries and keys as they are, without a sum, have no sink, by proxy scores.",
                0.0,
                5.0,
            ),
            ("mlp", "So have those of queries and keys behind a small network.", 0.19, 5.0),
            ("key-value-bias", "A learnt key with a learnt value takes the sink from the first token.", 0.04, 10.0),
            ("scale-small", "Rows that sum to 0.1 have no sink to speak of.", 3.59, 10.0),
        )
    ),
    Claim(
        name="elu-kernel",
        statement="A kernel of elu, divided by its sum, has a sink: what matters is the sum, not the exponential.",
        reported="53.65 %",
        metric=RATE,
        threshold=25.0,
        why="that of softmax; a pilot of one other seed had 71",
        bench=BENCH,
        own=_trained(53.65, 8.0),
    ),
    Claim(
        name="value-bias",
        statement="A learnt value alone leaves the sink where it is: what is needed is a place for the weight.",
        reported="17.53 %, softmax 18.18 %",
        metric=RATE,
        threshold=25.0,
        why="that of softmax",
        controls={"key bias": "a learnt key whose value is 0"},
        bench=BENCH,
        own=_trained(17.53, 5.0),
    ),
    Claim(
        name="fixed-value",
        statement="A learnt key whose value is given and large is of no use, and the sink is back at the first token.",
        reported="25.88 % with a norm of 20, 0.00 % with 0",
        metric=RATE,
        threshold=25.0,
        why="that of softmax",
        controls={"key bias": "the same with a norm of 0"},
        bench=BENCH,
        own=_trained(25.88, 8.0),
    ),
    Claim(
        name="shared-bias",
        statement="A learnt key and value that all heads share take less of the sink than those of each head.",
        reported="12.44 % against 0.04 %",
        metric=RATE,
        measure="difference",
        against="each head's own",
        threshold=5.0,
        why="under half of the paper's; a pilot of one other seed had 0 in both",
        controls={"each head's own": "a key and a value for each head"},
        bench=BENCH,
        own=_trained(12.44, 5.0),
    ),
    Claim(
        name="scale-large",
        statement="Rows that sum to 2 have a larger sink.",
        reported="29.10 % against 18.18 %",
        metric=RATE,
        measure="difference",
        against="softmax",
        threshold=5.0,
        why="set before: half of the paper's",
        controls=SOFTMAX,
        bench=BENCH,
        own=_trained(29.10, 8.0),
    ),
    Claim(
        name="p-norm",
        statement="Rows divided by their 2-norm train badly: the paper's diverge.",
        reported="diverges",
        metric="held-out loss, nats per token",
        measure="difference",
        against="softmax",
        threshold=0.06,
        why="set before: what counts as a loss below",
        controls=SOFTMAX,
        bench=BENCH,
        own=_trained(None),
    ),
    Claim(
        name="rate-high",
        statement="Twice the learning rate gives more of a sink.",
        reported="32.23 % against 18.18 %",
        metric=RATE,
        measure="difference",
        against="softmax",
        threshold=5.0,
        why="set before: a third of the paper's",
        controls=SOFTMAX,
        bench=BENCH,
        own=_trained(32.23, 8.0),
    ),
    Claim(
        name="rate-low",
        statement="A quarter of the learning rate gives less of a sink.",
        reported="2.90 % against 18.18 %",
        metric=RATE,
        measure="difference",
        against="softmax",
        direction="below",
        threshold=-5.0,
        why="set before: a third of the paper's",
        controls=SOFTMAX,
        bench=BENCH,
        own=_trained(2.90, 3.0),
    ),
    Claim(
        name="decay-some",
        statement="Some weight decay gives more of a sink than none.",
        reported="41.08 % with 0.5 against 15.20 %",
        metric=RATE,
        measure="difference",
        against="none",
        threshold=5.0,
        why="set before: a fifth of the paper's",
        controls={"none": "the same without weight decay"},
        bench=BENCH,
        own=_trained(41.08, 8.0),
    ),
    Claim(
        name="decay-much",
        statement="Ten times as much weight decay leaves no sink.",
        reported="0.01 % with 5",
        metric=RATE,
        direction="below",
        threshold=5.0,
        why="set before, as for sigmoid",
        controls=SOFTMAX,
        bench=BENCH,
        own=_trained(0.01, 2.0),
    ),
    *(
        Claim(
            name=f"{name}-loss",
            statement=f"The {what} costs no loss.",
            reported=reported,
            metric="held-out loss, nats per token",
            measure="difference",
            against="softmax",
            direction="below",
            threshold=0.06,
            why="set before",
            controls=SOFTMAX,
            bench=BENCH,
            own=_trained(expected, 0.06),
        )
        for name, what, reported, expected in (
            ("sigmoid", "sigmoid without a sum", "3.70 against 3.73", 3.70),
            ("key-bias", "key bias", "3.72 against 3.73", 3.72),
        )
    ),
    Claim(
        name="position",
        statement="The sink is where the data have their fixed token, not at the first place: BOS third, the sink is third.",
        reported="69.64 % at the third token if a fixed one is there",
        metric=RATE,
        threshold=25.0,
        why="that of softmax; set when softmax, sigmoid and key bias had been seen at one seed",
        controls={"first": "the first token of the same texts"},
        bench=BENCH,
        own=_trained(69.64, 8.0),
    ),
    Claim(
        name="random-tokens",
        statement="The sink is there on random tokens, too.",
        reported="Llama-3-8B 91.23 %, GPT2-XL 70.29 %",
        metric=RATE,
        threshold=25.0,
        why="that of softmax; set when softmax, sigmoid and key bias had been seen at one seed",
        bench=BENCH,
        own=_own(RANDOM, 91.23, 3.0),
    ),
    Claim(
        name="repeated-token",
        statement="With relative positions, one token repeated makes all hidden states equal and leaves no sink.",
        reported="0 % in Llama and Mistral, 62.28 % in GPT2-XL",
        metric=RATE.replace("32", "64"),
        direction="below",
        threshold=1.0,
        why="it follows from the equation, up to heads that look far back",
        equation="hidden states of a Llama (RoPE) and a BLOOM (ALiBi) at all places against those at the first",
        tolerance=1e-5,
        own=_own(REPEATED, 0.0, 0.5),
    ),
    Claim(
        name="metric",
        statement="The sink rate is the share of texts and heads in which a token receives more than eps.",
        reported="a definition",
        metric="deviation",
        threshold=0.0,
        why="it is judged by its equation",
        equation="SinkScore against the triple sum over texts, heads and queries",
        tolerance=1e-6,
    ),
)


@dataclass(frozen=True)
class RawSink:
    """What the first token gets before rows are normalised, `mean_i f(S_i1)`, [layer, head]: proxy scores hide its size."""

    name = "raw_sink"
    axes = ("layer", "head")

    def reducer(self) -> Any:
        return SinkScore().reducer()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Any], Tensor]:
        got = yield {"lse": Lse()}
        total = torch.where(call.live, got["lse"].exp(), 0.0)
        got = yield {"raw": Col(total)}
        return (got["raw"] / call.visible.clamp_min(1)).masked_fill(~call.keys("first")[:, None], 0.0).amax(-1)


def recipe(arm: str, seed: int, quick: bool = False) -> BenchSink:
    """Return what an arm of `ARMS` is trained from."""
    one = ARMS[arm]
    return BenchSink(
        seed=seed,
        layers=1,
        positions="learned",
        steps=60 if quick else 500,
        optimiser=AdamW(lr=one.lr, schedule="constant", warmup=20, weight_decay=one.decay),
        design=None if one.design is None else described(one.design),
        language=BigramBackcopy(bos=one.bos),
    )


def sinks(model: nn.Module, ids: Tensor, position: int = 0) -> dict[str, float]:
    """Return sink rate in %, mass of the position and of no key, and what the first key gets before rows are normalised.

    Where rows are not `distributed`, rate and mass are those of their `shares`, in the one layer that the bench models have.
    """
    lens = attach(model, check=False)  # much weight decay leaves heads that write nothing, and those cannot be proved
    at: int | Literal["first"] = position or "first"
    found = lens.measure(
        {"input_ids": ids}, [SinkRate(eps=EPS, position=at), SinkScore(position=at), SinkShare(), RawSink()]
    )
    rate, mass, share, raw = (float(found[name].mean.mean()) for name in found)
    weights = lens.weights({"input_ids": ids}, 0)
    if not distributed(weights):
        scores = shares(weights)[..., position:, position].mean(-1)
        rate, mass = float((scores > EPS).float().mean()), float(scores.mean())
    return {"rate": 100 * rate, "mass": mass, "beside": share, "raw": raw}


def check(setting: Setting) -> Iterator[Evidence]:
    """Measure the claims."""
    if setting.model is not None:
        yield from _given(setting)
        return
    yield from _equations()
    rows: list[list[str | float | int]] = []
    for seed in setting.seeds:
        found, loss = {}, {}
        for arm in ARMS:
            trained = recipe(arm, seed, setting.quick)
            model = trained_model(trained, setting.device)
            texts = trained.language.sample(TEXTS, UNSEEN)
            ids = texts.ids.to(setting.device)
            found[arm] = sinks(model, ids, trained.language.bos or 0)
            with torch.no_grad():
                loss[arm] = trained.evaluate(model)["loss"]
            rows.append([arm, seed, *found[arm].values(), loss[arm]])
            if arm == "BOS third":
                first = sinks(model, ids)["rate"]
            if arm == "softmax":
                with torch.no_grad():
                    bos = attach(model).weights({"input_ids": ids}, 0)[..., 0].mean(1).cpu()
                mass = {name: float(bos[texts.roles[name]].mean()) for name in ("plain", "trigger")}
                drawn = torch.randint(1, trained.language.vocabulary, ids.shape, generator=_generator(seed))
                drawn[:, 0] = 0
                random = sinks(model, drawn.to(setting.device))["rate"]
        rate = {arm: one["rate"] for arm, one in found.items()}
        softmax = {"softmax": rate["softmax"]}
        yield Measured("softmax", BENCH, seed, rate["softmax"])
        yield Measured("dormant", BENCH, seed, mass["plain"], {"trigger": mass["trigger"]})
        yield Measured("sigmoid", BENCH, seed, rate["sigmoid"], softmax)
        yield Measured("sigmoid-sum", BENCH, seed, rate["sigmoid, sum"], {"sigmoid": rate["sigmoid"]})
        for arm in ("key bias", "key-value bias", "elu", "identity", "mlp", "scale 0.1", "scale 2"):
            name = {"scale 0.1": "scale-small", "scale 2": "scale-large"}.get(arm, arm.replace(" ", "-"))
            yield Measured(name, BENCH, seed, rate[arm], softmax)
        yield Measured("elu-kernel", BENCH, seed, rate["elu kernel, sum"])
        for name in ("value-bias", "fixed-value"):
            yield Measured(name, BENCH, seed, rate[name.replace("-", " ")], {"key bias": rate["key bias"]})
        yield Measured("shared-bias", BENCH, seed, rate["shared bias"], {"each head's own": rate["key-value bias"]})
        yield Measured("p-norm", BENCH, seed, loss["p = 2"], {"softmax": loss["softmax"]})
        yield Measured("rate-high", BENCH, seed, rate["lr x 2"], softmax)
        yield Measured("rate-low", BENCH, seed, rate["lr / 4"], softmax)
        yield Measured("decay-some", BENCH, seed, rate["decay 0.5"], {"none": rate["no decay"]})
        yield Measured("decay-much", BENCH, seed, rate["decay 5"], softmax)
        for name, arm in (("sigmoid-loss", "sigmoid"), ("key-bias-loss", "key bias")):
            yield Measured(name, BENCH, seed, loss[arm], {"softmax": loss["softmax"]})
        yield Measured("position", BENCH, seed, rate["BOS third"], {"first": first})
        yield Measured("random-tokens", BENCH, seed, random)
    columns = ["attention", "seed", "sink rate, %", "sink mass", "mass on no token", "mass before the sum", "loss"]
    yield Figure("sinks", columns, rows)


def _given(setting: Setting) -> Iterator[Evidence]:
    """Measure a user's model on text, random tokens and a repeated token, each of 64 tokens."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(setting.model).to(setting.device).eval()
    tokenizer = AutoTokenizer.from_pretrained(setting.model)
    text = files("regard.report").joinpath("sample.txt").read_text(encoding="utf-8")
    tokens = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
    bos = torch.tensor([tokenizer.bos_token_id] if tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id else [])
    name = str(setting.model)
    for seed in setting.seeds:
        drawn = _generator(seed)
        starts = torch.randint(0, max(len(tokens) - TOKENS, 1), (OWN_TEXTS,), generator=drawn)
        texts = torch.stack([torch.cat([bos.long(), tokens[start : start + TOKENS]])[:TOKENS] for start in starts])
        random = torch.randint(0, model.config.get_text_config().vocab_size, (OWN_TEXTS, TOKENS), generator=drawn)
        repeated = random[:, :1].expand(-1, TOKENS)
        for claim, ids, data in (
            ("softmax", texts, SAMPLE),
            ("random-tokens", random, RANDOM),
            ("repeated-token", repeated, REPEATED),
        ):
            rate = sinks(model, ids.to(setting.device))["rate"]
            yield Measured(claim, name, seed, rate, data=data)


def _equations() -> Iterator[Evidence]:
    from transformers import BloomConfig, BloomForCausalLM, LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        shape = {"vocab_size": 50, "hidden_size": 32, "bos_token_id": 0, "eos_token_id": None}
        llama = LlamaForCausalLM(
            LlamaConfig(**shape, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
        ).eval()
        bloom = BloomForCausalLM(BloomConfig(**shape, n_layer=2, n_head=4)).eval()
        ids = torch.randint(0, 50, (3, 17))
    for name, model in (("Llama", llama), ("BLOOM", bloom)):
        yield Deviation("repeated-token", name, apart(model, 7))
    score = float(attach(llama).measure({"input_ids": ids}, [SinkScore(position=2)])["sink_score[2]"].mean.mean())
    weights = torch.stack([attach(llama).weights({"input_ids": ids}, layer) for layer in range(2)])
    total = 0.0
    for head in weights.flatten(0, 2):
        total += sum(float(row[2]) for row in head[2:]) / (len(head) - 2)
    yield Deviation("metric", "Llama, third token", score - total / len(weights.flatten(0, 2)))


@torch.no_grad()
def apart(model: nn.Module, token: int, length: int = TOKENS) -> float:
    """Return how far hidden states of one token repeated are from those at the first place, at most."""
    states = model(input_ids=torch.full((1, length), token), output_hidden_states=True).hidden_states
    return max(float((state - state[:, :1]).abs().max()) for state in states)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


CARD = Card(
    slug="attention-sink-emergence",
    title="When Attention Sink Emerges in Language Models: An Empirical View",
    family="sinks",
    authors=8,
    date=date(2024, 10, 14),
    arxiv="2410.10781",
    sentence=(
        "It defines a rate of attention sinks and trains many small language models that differ in one thing "
        "each, to see when the sink at the first token appears, where, and what makes it go."
    ),
    methods=(
        "regard.measure.SinkRate",
        "regard.measure.SinkMass",
        "regard.design.key_bias.KeyBias",
        "regard.design.key_bias.KeyValueBias",
        "regard.design.key_bias.ValueBias",
        "regard.design.key_bias.ScaledSoftmax",
        "regard.design.normaliser.SigmoidAttention",
        "regard.design.normaliser.EluAttention",
        "regard.design.normaliser.EluKernelAttention",
        "regard.design.p_normalised.PNormalised",
        "regard.design.signed.SignedAttention",
        "regard.design.shared_bias.SharedKeyValueBias",
        "regard.design.fixed_value.FixedValueBias",
    ),
    real=(
        "`regard scan MODEL` shows sink mass and sink rate of every head; `regard doctor MODEL --known` puts the rate beside "
        "what the paper reports of that model; `regard papers check attention-sink-emergence --model MODEL` measures it at 64 "
        "tokens on text, random tokens and a repeated token."
    ),
    claims=CLAIMS,
    check=check,
    cost=Cost(minutes=20, quick_minutes=3, memory_gb=1),
    entries=tuple(
        Entry(
            board="sink-mitigation",
            name=name,
            method=design,
            trials=tuple({"lr": lr} for lr in (3e-3, 6e-3, 1.2e-2)),
        )
        for name, design in (
            ("key bias", KeyBias()),
            ("key-value bias", KeyValueBias()),
            ("shared key-value bias", SharedKeyValueBias()),
            ("fixed value of norm 1", FixedValueBias(norm=1.0)),
            ("sigmoid", SigmoidAttention()),
            ("sigmoid, divided by the sum", SigmoidAttention(normalise=True)),
            ("elu", EluAttention()),
            ("elu kernel", EluKernelAttention()),
            ("signed", SignedAttention()),
            ("signed, behind a network", SignedAttention(kernel="mlp")),
            ("scale 0.1", ScaledSoftmax(0.1)),
            ("2-norm", PNormalised(2.0)),
        )
    ),
)
