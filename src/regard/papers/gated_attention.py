"""Gated Attention for Large Language Models: Non-linearity, Sparsity, and Attention-Sink-Free."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..design.gate import CHILD, Gate, gated
from ..design.gate_values import gate_values, openness, packed_gates
from ..design.stored import FILE, load
from ..lens import attach
from ..measure import SinkMass
from ..training.cache import trained_model
from ..training.recipe import HELD_OUT
from ..training.recipes.bench_gate import BenchGate, copy_loss
from ..worlds.bigram_backcopy import BigramBackcopy
from .cards import Card, Claim, Cost, Deviation, Entry, Evidence, Figure, Measured, Own, Setting

BENCH = "bench-gate"
SETTLED = 5  # queries before this see too few keys for the first one's weight to say anything
ARMS: dict[str, Gate | None] = {
    "softmax": None,
    "headwise": Gate(kind="headwise", preserving=False),
    "elementwise": Gate(preserving=False),
    "ns-sigmoid": Gate(activation="ns-sigmoid", preserving=False),
    "input-independent": Gate(inputs=0, preserving=False),
}
WITHOUT = BigramBackcopy(length=32, symbols=32, bos=None)


def check(setting: Setting) -> Iterator[Evidence]:
    """Train the arms and compare them, or measure the first token, activations and gates of a user's model."""
    if setting.model is not None:
        yield from _users(setting.model, setting.device)
        return
    yield Deviation("insertion", "random Llama, 8 heads on 2 keys", _insertion())
    rows: list[list[str | float | int]] = []
    for seed in setting.seeds:
        models = {name: _trained(setting, seed, arm) for name, arm in ARMS.items()}
        copies = {name: copy_loss(model, RECIPE.language) for name, model in models.items()}
        first = {name: _first(model) for name, model in models.items()}
        rows += [[name, seed, copies[name], first[name]] for name in ARMS]
        softmax, gate = copies["softmax"], models["headwise"]
        yield Measured("copy-loss", BENCH, seed, copies["headwise"], {"softmax": softmax})
        yield Measured("first-token", BENCH, seed, first["headwise"], {"softmax": first["softmax"]})
        yield Measured("sink-free", BENCH, seed, first["headwise"])
        for name in ("ns-sigmoid", "input-independent"):
            yield Measured(name, BENCH, seed, first[name], {"softmax": first["softmax"]})
        trigger, other, mean = _selectivity(gate)
        yield Measured("selectivity", BENCH, seed, trigger, {"other": other})
        with_bos = {name: copies[name] for name in ("softmax", "headwise")}
        rise = {
            name: copy_loss(_trained(setting, seed, ARMS[name], WITHOUT), WITHOUT) - loss
            for name, loss in with_bos.items()
        }
        yield Measured("without-bos", BENCH, seed, rise["softmax"], {"gate": rise["headwise"]})
        yield Measured("clamped", BENCH, seed, _clamped(gate, mean), {"softmax": softmax})
    yield Figure("arms", ("arm", "seed", "copy loss", "weight of the first token"), rows)


RECIPE = BenchGate()


def _trained(setting: Setting, seed: int, gate: Gate | None, language: BigramBackcopy = RECIPE.language) -> Any:
    recipe = replace(RECIPE, seed=seed, gate=gate, language=language)
    if setting.quick:
        recipe = replace(recipe, steps=300, evaluate_every=300)
    return trained_model(recipe, setting.device)


def _texts() -> Any:
    return RECIPE.language.sample(256, HELD_OUT)


def _inputs(ids: Tensor) -> dict[str, Tensor]:
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@torch.no_grad()
def _first(model: Any) -> float:
    """The mean weight of BOS for queries that are no triggers."""
    texts, lens = _texts(), attach(model)
    weights = lens.weights(lens.encode(_inputs(texts.ids)), layer=0)[:, 0, :, 0]
    idle = ~texts.roles["trigger"]
    idle[:, :SETTLED] = False
    return float(weights[idle].mean())


@torch.no_grad()
def _selectivity(model: Any) -> tuple[float, float, float]:
    """The mean gate at triggers, at other tokens behind BOS, and at both."""
    texts = _texts()
    with gate_values(model) as gates:
        model(input_ids=texts.ids)
    (values,) = gates.values()
    trigger, behind = texts.roles["trigger"], ~texts.roles["bos"]
    return tuple(float(values[chosen].mean()) for chosen in (trigger, behind & ~trigger, behind))  # type: ignore[return-value]


def _clamped(model: Any, mean: float) -> float:
    """The copy loss with the gate held at its mean."""
    (module,) = gated(model).values()
    logit = torch.logit(torch.tensor(mean)).item()
    handle = getattr(module, CHILD).register_forward_hook(lambda gate, args, out: torch.full_like(out, logit))
    try:
        return copy_loss(model, RECIPE.language)
    finally:
        handle.remove()


@torch.no_grad()
def _insertion() -> float:
    """How far a gate that was just put in moves the logits."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=64, hidden_size=64, intermediate_size=64, num_hidden_layers=3, num_attention_heads=8,
        num_key_value_heads=2, initializer_range=0.2,
    )  # fmt: skip
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).eval()
        ids = torch.randint(64, (2, 33))
    before = model(input_ids=ids).logits
    Gate().put(model)
    return float((model(input_ids=ids).logits - before).abs().max())


@torch.no_grad()
def _users(path: str, device: str) -> Iterator[Evidence]:
    """The first token's weight, the largest activation and the mean gates of a user's model on the sample text."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(path)
    designed = (Path(path) / FILE).is_file()
    model: Any = load(path) if designed else AutoModelForCausalLM.from_pretrained(path)
    model = model.to(device).eval()
    text = files("regard.report").joinpath("sample.txt").read_text(encoding="utf-8")
    ids = tokenizer(text, return_tensors="pt").input_ids[:, :1000].to(device)
    lens = attach(model, tokenizer)
    mass = lens.measure(lens.encode(_inputs(ids)), [SinkMass()])["sink_mass"].mean
    yield Measured("sink-free", path, 0, float(mass.nanmean()), data=SAMPLE)
    hidden = model(input_ids=ids, output_hidden_states=True).hidden_states
    rows: list[list[str | float | int]] = [["largest activation", float(max(one.abs().max() for one in hidden))]]
    if gated(model) or packed_gates(model):
        with gate_values(model) as gates:
            model(input_ids=ids)
        mean, closed = openness(gates, torch.ones_like(ids, dtype=torch.bool))
        rows += [["mean gate", float(mean.mean())], ["share of closed gates", float(closed.mean())]]
    yield Figure("own-model", ("what", "value"), rows)


SAMPLE = "sample text"
COMMAND = "regard papers check gated-attention --model PATH"


def _own(expected: float, within: float, what: str = "1B_gate_headwise") -> Own:
    return Own(model=f"QwQZh/gated_attention/{what}", data=SAMPLE, command=COMMAND, expected=expected, within=within)


def _trainings(expected: float | None = None) -> Own:
    return Own(
        model="15A2B mixture of experts", data="400B tokens of the authors",
        command="train the arms with regard.design.gate.Gate; neither data nor models are public",
        expected=expected, within=0.1 * (expected or 0.0),
    )  # fmt: skip


SOFTMAX = {"softmax": "the same model without a gate, same seed"}
CARD = Card(
    slug="gated-attention",
    title="Gated Attention for Large Language Models: Non-linearity, Sparsity, and Attention-Sink-Free",
    family="design",
    authors=13,
    date=date(2025, 5, 10),
    arxiv="2505.06708",
    sentence=(
        "It multiplies the output of each head by a sigmoid gate that reads the current token, which makes "
        "training steadier and removes the sink at the first token."
    ),
    methods=("regard.design.gate.Gate", "regard.design.gate_values.gate_values"),
    real=(
        "`Gate().put(model)` adds gates to a decoder of transformers without changing what it computes; train it on. "
        "`regard papers check gated-attention --model PATH` measures first-token weight, largest activation and gates."
    ),
    claims=(
        Claim(
            name="insertion", statement="A gate that was just put in changes nothing.", reported="Not in the paper.",
            metric="largest change of a logit", why="Rounding in float32.", direction="below", threshold=1e-4,
            equation="logits with a gate whose weights are 0, and without", tolerance=1e-4,
        ),
        Claim(
            name="copy-loss", statement="A headwise gate lowers the loss where attention is needed.",
            reported="Perplexity 5.792 against 6.026 (mixture of experts, 400B tokens).", metric="copy loss, nats",
            why="Half of it, set before; a pilot with a layer of another make had an eighth.", measure="ratio",
            direction="below", threshold=0.5, against="softmax", controls=SOFTMAX, bench=BENCH, own=_trainings(),
        ),
        Claim(
            name="first-token", statement="A headwise gate removes attention to the first token.",
            reported="0.073 against 0.467.", metric="mean weight of BOS for queries that are no triggers",
            why="The paper has a sixth; half was set before.", measure="ratio", direction="below", threshold=0.5,
            against="softmax", controls=SOFTMAX, bench=BENCH, own=_trainings(0.073),
        ),
        Claim(
            name="sink-free", statement="A gated model has hardly any attention on the first token.",
            reported="0.073 with headwise gates.", metric="mean weight of the first token",
            why="Both gated models of the paper are below 0.1.", direction="below", threshold=0.1, bench=BENCH,
            own=_own(0.073, 0.05),
        ),
        Claim(
            name="selectivity", statement="The gate is open where the head is needed and closed elsewhere.",
            reported="Mean gate 0.172: gates are mostly closed.", metric="mean gate at triggers",
            why="Half of a gate's range, set before.", measure="difference", threshold=0.5, against="other",
            controls={"other": "mean gate at other tokens behind BOS"}, bench=BENCH, own=_trainings(),
        ),
        Claim(
            name="without-bos", statement="Softmax needs the first token as a sink, and the gate does not.",
            reported="Not in the paper.", metric="rise of the copy loss of softmax when trained without BOS, nats",
            why="It must lose more than the gate.", measure="difference", threshold=0.0, against="gate",
            controls={"gate": "rise of the headwise gate"}, bench=BENCH, own=_trainings(),
        ),
        Claim(
            name="clamped", statement="It is the gate's dependence on the token that helps.",
            reported="Not in the paper.", metric="copy loss with the trained gate held at its mean, nats",
            why="It must be worse than softmax.", measure="ratio", threshold=1.0, against="softmax", controls=SOFTMAX,
            bench=BENCH, own=_trainings(),
        ),
        Claim(
            name="ns-sigmoid", statement="A gate that cannot close keeps the sink.", reported="0.451 against 0.467.",
            metric="mean weight of BOS for queries that are no triggers",
            why="More than half stays; set when copy losses had been seen, and no weight.",
            measure="ratio", threshold=0.5, against="softmax", controls=SOFTMAX, bench=BENCH, own=_trainings(0.451),
        ),
        Claim(
            name="input-independent", statement="A gate that does not see the token keeps the sink.",
            reported="0.364 against 0.467.",
            metric="mean weight of BOS for queries that are no triggers",
            why="More than half stays; set when copy losses had been seen, and no weight.",
            measure="ratio", threshold=0.5, against="softmax", controls=SOFTMAX,
            bench=BENCH, own=_trainings(0.364),
        ),
    ),
    check=check,
    cost=Cost(minutes=8, quick_minutes=1.5, memory_gb=1),
    entries=tuple(
        Entry(
            board="sink-mitigation", name=name, method=gate,
            trials=tuple({"lr": lr} for lr in (3e-3, 6e-3, 1.2e-2)),
        )
        for name, gate in (
            ("headwise gate", ARMS["headwise"]),
            ("elementwise gate", ARMS["elementwise"]),
            ("gate on values", Gate(at="value", preserving=False)),
        )
    ),
)  # fmt: skip
