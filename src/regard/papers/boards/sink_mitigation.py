"""Designs that take the sink from the first token, trained from nothing, and what each costs in loss.

An entry's `method` is a design of `regard.design`, or None for the softmax attention that the model comes with. Every method is
tuned over its learning rate, by the loss on texts that the test does not see. The models are attention and nothing else: with an
MLP the same models have hardly a sink at the learning rate that is best for the loss, so that a first board could tell nothing of
sinks.
"""

import json
import time
from collections.abc import Mapping
from functools import cache
from statistics import median

import torch
from torch import nn

from ...design.key_bias import SoftmaxOffByOne, ValueBias
from ...design.signed import distributed, shares
from ...design.sink_logit import SinkLogit
from ...design.stored import Design, described
from ...lens import attach
from ...measure import SinkMass, SinkRate
from ...training.cache import cached
from ...training.optimiser import AdamW
from ...training.recipe import HELD_OUT
from ...training.recipes.bench_sink import BenchSink
from ..cards import Cost, Entry
from ..cards.board import Run, Task

BOARD = "sink-mitigation"
SMALL, LARGE = "bench-sink without MLP, one head of 32", "bench-sink without MLP, one head of 64"
WIDTHS = {SMALL: 32, LARGE: 64}
RATES = ({"lr": 3e-3}, {"lr": 6e-3}, {"lr": 1.2e-2})
STEPS, EVERY = 400, 20
TEXTS = 128
EPS = 0.3
DRAWN = {"tune": 7_000_003, "test": HELD_OUT}
"""The seeds of the texts for each split; those of the test are the ones that `BenchSink.evaluate` takes."""
ROUNDS = 21


def recipe(bench: str, design: Design | None, lr: float, seed: int, quick: bool = False) -> BenchSink:
    """Return what a method is trained from."""
    return BenchSink(
        seed=seed,
        layers=1,
        heads=1,
        mlp=False,
        width=WIDTHS[bench],
        steps=2 * EVERY if quick else STEPS,
        evaluate_every=EVERY,
        checkpoint_every=STEPS,
        optimiser=AdamW(lr=lr, schedule="constant", warmup=20),
        design=None if design is None else described(design),
    )


@cache
def slowdown(bench: str, design: Design | None, seed: int, rounds: int = ROUNDS) -> float:
    """Return the CPU time of a training step with a design over that of one with softmax, at least 1.

    Steps of both alternate in this process, as CPU time depends on what else runs; each has its median over `rounds`. A design
    that was faster would get no more than the steps that there are. With softmax itself it is 1.
    """
    if design is None:
        return 1.0
    arms = [recipe(bench, one, 3e-3, seed) for one in (None, design)]
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        models = [arm.model() for arm in arms]
        optimisers = [arm.optimiser.make(model.parameters()) for arm, model in zip(arms, models, strict=True)]
        seconds: tuple[list[float], list[float]] = ([], [])
        for step in range(rounds):
            batch = arms[0].batch(step)
            for model, optimiser, kept in zip(models, optimisers, seconds, strict=True):
                begun = time.process_time()
                arms[0].loss(model, batch).backward()
                optimiser.step()
                optimiser.zero_grad()
                kept.append(time.process_time() - begun)
    base, mine = (median(kept[1:]) for kept in seconds)
    return max(1.0, mine / base)


def score(run: Run) -> Mapping[str, float]:
    """Return the loss after all steps, the loss when softmax would be done with them, and the sink of the first token.

    Loss at equal time: the learning rate is constant, so that a run's row at step n is a run of n steps. It is the held-out loss
    of the row nearest to the step at which this method has used the CPU time that softmax needs for all steps, by `slowdown`,
    which is measured anew on each machine; models may come from the cache. Sinks: texts have 32 tokens, the first is BOS, and a
    sink has eps 0.3. Weights without a sum to divide by are measured as shares of their row, those of any sign by their size, and
    a gate's before the gate.
    """
    trained = recipe(run.bench, run.entry.method, run.trial["lr"], run.seed, run.setting.quick)
    folder = cached(trained, device=run.setting.device)
    model = trained.load(folder).to(run.setting.device).eval()
    rows = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    slower = slowdown(run.bench, run.entry.method, run.seed)
    step = trained.steps / slower
    nearest = min((row for row in rows if "eval_loss" in row), key=lambda row: abs(row["step"] - step))
    texts = trained.language.sample(TEXTS, DRAWN[run.split])
    ids = texts.ids.to(run.setting.device)
    with torch.no_grad():
        logits = model(input_ids=ids).logits[:, :-1]
    losses = nn.functional.cross_entropy(logits.mT, ids[:, 1:], reduction="none").cpu()
    lens = attach(model, check=False)
    weights = lens.weights({"input_ids": ids}, 0)
    if not distributed(weights):
        scores = shares(weights)[..., 0].mean(-1)
        rate, mass = float((scores > EPS).float().mean()), float(scores.mean())
    else:
        found = lens.measure({"input_ids": ids}, [SinkRate(eps=EPS), SinkMass()])
        rate, mass = (float(found[name].mean.mean()) for name in ("sink_rate", "sink_mass"))
    return {
        "loss": losses[texts.scored[:, 1:]].mean().item(),
        "loss at equal time": nearest["eval_loss"],
        "time of a step": slower,
        "sink_rate": rate,
        "sink_mass": mass,
    }


TASK = Task(
    name=BOARD,
    title=(
        "Designs without a sink: held-out loss after equal steps and at equal CPU time, the CPU time of a training step over "
        "that with softmax (never below 1), the share of texts and heads in which "
        "BOS is a sink (sink_rate: eps 0.3, 32 tokens, BOS first), and the mean weight of BOS (sink_mass)"
    ),
    benches=(SMALL, LARGE),
    metrics={
        "loss": "lower",
        "loss at equal time": "lower",
        "time of a step": "lower",
        "sink_rate": "lower",
        "sink_mass": "lower",
    },
    trials=len(RATES),
    entries=(
        Entry(board=BOARD, name="softmax", role="base", method=None, trials=RATES),
        Entry(board=BOARD, name="value bias", role="baseline", method=ValueBias(), trials=RATES),
        Entry(board=BOARD, name="off by one", role="rival", method=SoftmaxOffByOne(), trials=RATES),
        Entry(board=BOARD, name="sink logit", role="rival", method=SinkLogit(), trials=RATES),
    ),
    score=score,
    cost=Cost(minutes=20, quick_minutes=4, memory_gb=1),
)
