"""Methods that make a model look where it would rather guess, compared where guessing is wrong.

An entry's `method` is a `Method`: it is given the lens of a bench model, the inputs of one batch (`input_ids`, `attention_mask`,
`patches`; image places are token 1, the text-only stream is what is left without them), one of its trials and a seed, and
returns a context in which the model answers that batch. An edit is `lens.edit(...)`; what needs a pass of its own runs it first.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...edit import BiasKeys, ScaleHeads
from ...lens import Lens, attach
from ..cards import Cost, Entry
from ..cards.board import Run, Task

Method = Callable[[Lens, Mapping[str, Tensor], Mapping[str, Any], int], AbstractContextManager[Any]]
PLAIN, DILUTED = "bench-vlm with 4 constant patches", "bench-vlm with 4 constant patches and 32 distractor tokens"
DISTRACTORS = {PLAIN: (0, 0), DILUTED: (16, 16)}
ITEMS, BATCH = 1500, 500
DRAWN = {"tune": 5_000_011, "test": 6_000_011}
"""The seeds of the pictures for each split, of which no model was trained on any."""


def base(lens: Lens, x: Mapping[str, Tensor], trial: Mapping[str, Any], seed: int) -> AbstractContextManager[Any]:
    """Leave the model as it is."""
    return nullcontext()


def uniform_bias(
    lens: Lens, x: Mapping[str, Tensor], trial: Mapping[str, Any], seed: int
) -> AbstractContextManager[Any]:
    """Multiply the attention of every head on all image tokens by one factor before rows are normalised."""
    return lens.edit(BiasKeys.by_factor("image", trial["factor"], since=("image", 0)))


def random_heads(
    lens: Lens, x: Mapping[str, Tensor], trial: Mapping[str, Any], seed: int
) -> AbstractContextManager[Any]:
    """Scale the outputs of half of the heads of each layer, drawn by the seed."""
    config: Any = lens.model.config
    generator = torch.Generator().manual_seed(seed)
    count = config.num_attention_heads
    drawn = [torch.randperm(count, generator=generator)[: count // 2].tolist() for _ in range(config.num_hidden_layers)]
    return lens.edit(ScaleHeads([(layer, head) for layer, heads in enumerate(drawn) for head in heads], trial["scale"]))


@torch.no_grad()
def score(run: Run) -> Mapping[str, float]:
    """Return accuracies where the colour is never, and where it always is, the expected one, and what belongs beside them."""
    from ...training.cache import trained_model
    from ...training.recipes.bench_vlm import RECIPE, answers
    from ...worlds.patches import Patches

    pictures = Patches(sinks=4, distractors=DISTRACTORS[run.bench])
    steps = 100 if run.setting.quick else RECIPE.steps
    recipe = replace(RECIPE, seed=run.seed, pictures=pictures, steps=steps)
    device = run.setting.device
    model = trained_model(recipe, device)
    lens = attach(model, check=False)
    count = 200 if run.setting.quick else ITEMS
    said: dict[str, Tensor] = {}
    truth: dict[str, Mapping[str, Tensor]] = {}
    for colours in ("contrary", "consistent"):
        made = recipe.shown(count, colours, seed=DRAWN[run.split])
        said[colours] = answers(model, made, BATCH, lambda x: run.entry.method(lens, x, run.trial, run.seed)).argmax(-1)
        truth[colours] = made.texts.truth
    right = {colours: (said[colours] == truth[colours]["answer"]).float() for colours in said}
    told = torch.cat([truth[colours]["answer"] for colours in said])
    hits = torch.cat(list(right.values()))
    return {
        "contrary": right["contrary"].mean().item(),
        "consistent": right["consistent"].mean().item(),
        "hallucinated": (said["contrary"] == truth["contrary"]["expected"]).float().mean().item(),
        "recall": torch.stack([hits[told == colour].mean() for colour in told.unique()]).mean().item(),
    }


TASK = Task(
    name="hallucination",
    title=(
        "Colours that are not the expected ones: accuracy on them (contrary) and on expected ones (consistent), how often the "
        "expected one is said in place of another (hallucinated), and the share found of each colour (recall)"
    ),
    benches=(PLAIN, DILUTED),
    metrics={"contrary": "higher", "consistent": "higher", "hallucinated": "lower", "recall": "higher"},
    trials=3,
    entries=(
        Entry(board="hallucination", name="base", role="base", method=base),
        Entry(
            board="hallucination",
            name="uniform bias on image tokens",
            role="baseline",
            method=uniform_bias,
            trials=({"factor": 1.5}, {"factor": 2.0}, {"factor": 4.0}),
        ),
        Entry(
            board="hallucination",
            name="random heads",
            role="baseline",
            method=random_heads,
            trials=({"scale": 1.5}, {"scale": 2.0}, {"scale": 3.0}),
        ),
    ),
    score=score,
    cost=Cost(minutes=15.0, quick_minutes=2.0, memory_gb=1.0),
)
