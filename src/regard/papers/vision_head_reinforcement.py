"""Cracking the Code of Hallucination in LVLMs with Vision-aware Head Divergence."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import date
from typing import Any, Literal

import torch
from torch import Tensor

from ..edit.reinforce import ReinforceHeads
from ..lens import Lens, attach
from ..lens.vision_heads import default_layers, vision_heads
from .cards import Card, Claim, Cost, Deviation, Entry, Evidence, Figure, Measured, Own, Setting
from .cards.pope import Around, pope

PLAIN, DILUTED = "bench-vlm", "bench-vlm behind 32 tokens of text"
LAYERS = (0, 1, 2)
"""All of the bench model's; the paper's second and last 14 of 32 would be the second and the third."""
ITEMS: dict[Literal["contrary", "consistent"], int] = {"contrary": 5000, "consistent": 2000}
DRAWN = 4_000_037
"""The seed of the pictures, of which no model was trained on any."""
COLOURS = "The sky is blue, grass is green, snow is white, coal is black, blood is red, and lemons are yellow. "
"""What is said before a question to a user's model, for the claim on diluted images: a language's expectations."""


def arms(lens: Lens, layers: Sequence[int], seed: int) -> dict[str, Around]:
    """Return the method and its controls by name, each a context for given inputs."""
    generator = torch.Generator().manual_seed(seed)

    def reinforced(alpha: float) -> Around:
        return lambda x: lens.edit(vision_heads(lens, x, layers=layers, alpha=alpha).edit())

    return {
        "base": lambda x: nullcontext(),
        "top": reinforced(2.0),
        "halved": reinforced(0.5),
        "random": lambda x: lens.edit(at_random(lens, x, layers, generator)),
        "low": lambda x: lens.edit(at_the_other_end(lens, x, layers)),
    }


def at_random(lens: Lens, x: Mapping[str, Any], layers: Sequence[int], generator: torch.Generator) -> ReinforceHeads:
    """Return an edit that doubles half of the heads of each layer, drawn anew for each example."""
    config: Any = lens.model.config
    heads = config.get_text_config().num_attention_heads
    places = torch.rand(x["input_ids"].shape[0], len(layers), heads, generator=generator).argsort(-1)
    return ReinforceHeads(
        [(layer, head) for layer in layers for head in range(heads)], (places < heads // 2).flatten(1)
    )


def at_the_other_end(lens: Lens, x: Mapping[str, Any], layers: Sequence[int]) -> ReinforceHeads:
    """Return an edit that doubles the heads that would not be chosen, told in the model as it is."""
    found = vision_heads(lens, x, layers=layers, alpha=1.0)
    return replace(found, chosen=~found.chosen, alpha=2.0).edit()


def watched(lens: Lens, layers: Sequence[int], found: list[Tensor]) -> Around:
    """Return a context that changes nothing and adds to `found` how much the next token relies on the image, [example]."""

    def around(x: Mapping[str, Any]) -> AbstractContextManager[Any]:
        found.append(vision_heads(lens, x, layers=layers, alpha=1.0).of_token())
        return nullcontext()

    return around


def auroc(values: Tensor, right: Tensor, groups: Tensor | None = None) -> float:
    """Return how often a right answer has the higher value than a wrong one of its group, ties half; all [answer]."""
    above = values[right, None] - values[~right]
    if groups is not None:
        above = above[groups[right, None] == groups[~right]]
    return (above.sign().mean().item() + 1) / 2


def deciles(values: Tensor) -> Tensor:
    """Return which tenth of the values each one is in, [answer]."""
    return torch.bucketize(values, values.quantile(torch.arange(1, 10, device=values.device) / 10))


def check(setting: Setting) -> Iterator[Evidence]:
    """Yield the deviations from the method written out, and every claim in the bench models or in the user's."""
    if setting.model is not None:
        yield from _own(setting)
        return
    yield from _exact()
    rows: list[Sequence[str | float | int]] = []
    for seed in setting.seeds:
        yield from _bench(seed, setting, rows)
    yield Figure("arms", ("model", "seed", "arm", "contrary", "consistent"), rows)


def _bench(seed: int, setting: Setting, rows: list[Sequence[str | float | int]]) -> Iterator[Measured]:
    from ..training.cache import trained_model
    from ..training.recipes.bench_vlm import RECIPE, answers
    from ..worlds.patches import Patches, Patchwork

    def trained(pictures: Patches) -> Any:
        recipe = replace(RECIPE, seed=seed, pictures=pictures, steps=100 if setting.quick else RECIPE.steps)
        return trained_model(recipe, setting.device)

    def right(model: Any, made: Patchwork, around: Around) -> float:
        return (
            100 * (answers(model, made, around=around).argmax(-1) == made.texts.truth["answer"]).float().mean().item()
        )

    def of_arms(name: str, model: Any, pictures: Patches) -> dict[str, float]:
        contrary: dict[str, float] = {}
        for arm, around in arms(attach(model, check=False), LAYERS, seed).items():
            found = []
            for colours, count in ITEMS.items():
                made = pictures.sample(count // 20 if setting.quick else count, DRAWN, 0, colours, image=True)
                found.append(right(model, made, around))
            contrary[arm] = found[0]
            rows.append((name, seed, arm, *found))
        return contrary

    model = trained(Patches())
    yield from _gains(of_arms(PLAIN, model, Patches()), PLAIN, seed)
    made = Patches().sample(ITEMS["contrary"] // 20 if setting.quick else ITEMS["contrary"], DRAWN, 0, "contrary", True)
    relied: list[Tensor] = []
    said = answers(model, made, around=watched(attach(model, check=False), LAYERS, relied))
    correct = said.argmax(-1) == made.texts.truth["answer"]
    yield from _reliance(torch.cat(relied), said.softmax(-1).amax(-1), correct, PLAIN, seed)
    diluted = of_arms(DILUTED, trained(Patches(distractors=(0, 8))), Patches(distractors=(16, 16)))
    yield _gain("diluted", diluted, DILUTED, seed)


def _gain(claim: str, scores: Mapping[str, float], model: str, seed: int, data: str = "") -> Measured:
    controls = {name: scores[name] for name in ("base", "random", "low")}
    return Measured(claim, model, seed, scores["top"], controls, data)


def _gains(scores: Mapping[str, float], model: str, seed: int, data: str = "") -> Iterator[Measured]:
    yield _gain("gain", scores, model, seed, data)
    yield Measured("choice", model, seed, scores["top"], {"random": scores["random"]}, data)
    yield Measured("halving", model, seed, scores["halved"], {"base": scores["base"]}, data)
    yield Measured("low", model, seed, scores["low"], {"base": scores["base"]}, data)


def _reliance(relied: Tensor, sure: Tensor, right: Tensor, model: str, seed: int, data: str = "") -> Iterator[Measured]:
    yield Measured("reliance", model, seed, auroc(relied, right), {}, data)
    yield Measured("reliance alone", model, seed, auroc(relied, right, deciles(sure)), {}, data)


def _exact() -> Iterator[Deviation]:
    """Compare chosen heads and logits with whole passes over one prompt at a time, in a model with random weights."""
    from ..training.recipes.bench_vlm import RECIPE, asked

    torch.manual_seed(0)
    model: Any = RECIPE.model().eval()
    with torch.no_grad():  # freshly made, its heads would hardly write anything
        for weights in model.parameters():
            weights.mul_(5.0 if weights.ndim > 1 else 1.0)
    x = asked(RECIPE.shown(4, "contrary"))
    lens = attach(model, check=False)
    found = vision_heads(lens, x, layers=LAYERS)
    with torch.no_grad(), lens.edit(found.edit()):
        logits = model(**x).logits
    for row in range(4):
        far, expected = written_out(model, {name: values[row : row + 1] for name, values in x.items()}, LAYERS, 2.0)
        yield Deviation("exact", "divergence, float32", float((found.divergence[:, row] - far).abs().max()))
        yield Deviation("exact", "logits, float32", float((logits[row] - expected).abs().max()))


@torch.no_grad()
def written_out(model: Any, x: Mapping[str, Tensor], layers: Sequence[int], alpha: float) -> tuple[Tensor, Tensor]:
    """Return divergences [layer, head] and logits [token, vocabulary] of one prompt after the paper's equations.

    Each layer takes a pass over the prompt and one over its text, with the columns of the output projections that the heads
    chosen so far write into multiplied by `alpha`.
    """
    text = {"input_ids": x["input_ids"][x["input_ids"] != model.config.image_token_id][None]}
    heads = model.config.num_attention_heads
    chosen: dict[int, list[int]] = {}

    def run(given: Mapping[str, Tensor]) -> tuple[list[Tensor], Tensor]:
        last: list[Tensor] = []
        handles = []
        for number, block in enumerate(model.model.layers):

            def scaled(module: Any, args: tuple[Tensor], number: int = number) -> tuple[Tensor]:
                z = args[0].clone().unflatten(-1, (heads, -1))
                last.append(z[0, -1].clone())
                for head in chosen.get(number, []):
                    z[:, :, head] *= alpha
                return (z.flatten(-2),)

            handles.append(block.self_attn.o_proj.register_forward_pre_hook(scaled))
        logits: Tensor = model(**given).logits[0]
        for handle in handles:
            handle.remove()
        return last, logits

    found = []
    for layer in layers:
        with_image, without = run(x)[0][layer], run(text)[0][layer]
        far = [float(((with_image[head] - without[head]) ** 2).sum()) ** 0.5 for head in range(heads)]
        active = [float((without[head] ** 2).sum()) for head in range(heads)]
        kept = [0.0 if beyond(far, head) and beyond(active, head) else far[head] for head in range(heads)]
        ranked = sorted(kept)
        median = (ranked[(heads - 1) // 2] + ranked[heads // 2]) / 2
        chosen[layer] = [head for head in range(heads) if kept[head] > median]
        found.append(torch.tensor(far))
    return torch.stack(found), run(x)[1]


def beyond(values: Sequence[float], place: int) -> bool:
    """Say whether one value lies above the mean of all by more than their standard deviation."""
    mean = sum(values) / len(values)
    deviation = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5
    return values[place] > mean + deviation


def _own(setting: Setting) -> Iterator[Measured]:
    """Yield F1 on questions whether an object is in an image, and whether reliance on it tells right answers from wrong."""
    asked = pope(setting)
    assert setting.model is not None
    config: Any = asked.lens.model.config
    layers = default_layers(config.get_text_config().num_hidden_layers)
    scores = {name: asked.f1(asked.said(around)[0]) for name, around in arms(asked.lens, layers, 0).items()}
    yield from _gains(scores, setting.model, 0, "POPE")
    relied: list[Tensor] = []
    said, sure = asked.said(watched(asked.lens, layers, relied))
    yield from _reliance(torch.cat(relied), sure, said == asked.truth, setting.model, 0, "POPE")
    behind = {
        name: asked.f1(asked.said(around, COLOURS)[0])
        for name, around in arms(asked.lens, layers, 0).items()
        if name != "halved"
    }
    yield _gain("diluted", behind, setting.model, 0, "POPE behind a sentence on colours")


def on_board(lens: Lens, x: Mapping[str, Tensor], trial: Mapping[str, Any], seed: int) -> AbstractContextManager[Any]:
    """The method as the board `hallucination` takes it."""
    return lens.edit(vision_heads(lens, x, layers=LAYERS, **trial).edit())


def _llava(expected: float | None = None, within: float = 0.0, data: str = "POPE") -> Own:
    return Own(
        model="llava-hf/llava-1.5-7b-hf",
        data=data,
        command="regard papers check vision-head-reinforcement --model llava-hf/llava-1.5-7b-hf --data pope.jsonl --device cuda",
        expected=expected,
        within=within,
    )


BASE = {"base": "no head is changed"}
RANDOM = {"random": "half of the heads of each layer, drawn for each example, are doubled"}
LOW = {"low": "the heads that would not be chosen are doubled"}
ACCURACY = "accuracy where the colour is never the expected one, %"
SEEN = "a pilot on seed 0 was seen before"

CARD = Card(
    slug="vision-head-reinforcement",
    title="Cracking the Code of Hallucination in LVLMs with Vision-aware Head Divergence",
    family="vlm",
    authors=9,
    date=date(2024, 12, 18),
    arxiv="2412.13949",
    sentence=(
        "It measures how far each head's output moves when the image is taken away, and doubles the output of the "
        "heads that move most while an answer is generated."
    ),
    methods=("regard.lens.vision_heads.vision_heads", "regard.edit.reinforce.ReinforceHeads"),
    real=(
        "heads = vision_heads(lens, x, layers=default_layers(32)); with lens.edit(heads.edit()): model.generate(**x). "
        "Expected on LLaVA-1.5-7B: a POPE F1 of 85.5 instead of 85.0, and a CHAIR_S of 33 instead of 50."
    ),
    claims=(
        Claim(
            name="exact",
            statement="Layer by layer, the half of the heads whose outputs the image moves most is doubled in each example.",
            reported="equations of section 3",
            metric="largest difference from whole passes with and without the image, head by head",
            why="float32 rounding",
            threshold=0.0,
            equation="divergences, and logits after the edit, against loops over heads and one pair of passes for each layer",
            tolerance=1e-5,
        ),
        Claim(
            name="gain",
            statement="Doubling the heads that the image moves most makes answers follow the image.",
            reported="POPE F1 84.98 to 85.47, and CHAIR_S 49.7 to 33.3, on LLaVA-1.5-7B",
            metric=ACCURACY,
            why=f"2 points, about three standard errors of 5000 answers; {SEEN}",
            measure="difference",
            against="base",
            controls={**BASE, **RANDOM, **LOW},
            threshold=2.0,
            bench=PLAIN,
            own=_llava(85.47, 0.4),
        ),
        Claim(
            name="choice",
            statement="Which heads are doubled matters: as many random ones do not do it.",
            reported="heads chosen once for all samples give CHAIR_S 44.7, those of each sample 33.3",
            metric=ACCURACY,
            why=f"2 points, as for the gain; {SEEN}",
            measure="difference",
            against="random",
            controls=RANDOM,
            threshold=2.0,
            bench=PLAIN,
            own=_llava(85.47, 0.4),
        ),
        Claim(
            name="halving",
            statement="Halving the outputs of these heads makes answers follow the image less.",
            reported="CHAIR_S 55.8 at alpha 0.5 and 63.3 at 0.2, 49.7 without (LLaVA-1.5-7B)",
            metric=ACCURACY,
            why=f"5 points, of the specification, which had seen a model of one seed; {SEEN}",
            measure="difference",
            direction="below",
            against="base",
            controls=BASE,
            threshold=-5.0,
            bench=PLAIN,
            own=_llava(),
        ),
        Claim(
            name="low",
            statement="Doubling the heads that the image moves least makes answers follow the image less.",
            reported="not in the paper; it is what its reason for the choice of heads would have",
            metric=ACCURACY,
            why=f"any harm; {SEEN}",
            measure="difference",
            direction="below",
            against="base",
            controls=BASE,
            threshold=0.0,
            bench=PLAIN,
            own=_llava(),
        ),
        Claim(
            name="reliance",
            statement="A token of which the heads diverge less is more often imagined (T-VHD, 4 heads of each layer).",
            reported="words that are hallucinated have lower T-VHD (a figure)",
            metric="AUROC of right against wrong answers, of the model as it is",
            why="0.6, of the specification; not looked at before",
            threshold=0.6,
            bench=PLAIN,
            own=_llava(),
        ),
        Claim(
            name="reliance alone",
            statement="T-VHD tells more than how probable the answer is.",
            reported="not in the paper; an indicator that only repeats the probability would be none",
            metric="AUROC of right against wrong answers of the same decile of probability",
            why="better than chance; not looked at before",
            threshold=0.5,
            bench=PLAIN,
            own=_llava(),
        ),
        Claim(
            name="diluted",
            statement="It also helps where much text stands between the image and the question.",
            reported="CHAIR is of captions of up to 512 tokens",
            metric=ACCURACY,
            why="2 points, as for the gain; one seed of a like model was seen in the specification",
            measure="difference",
            against="base",
            controls={**BASE, **RANDOM, **LOW},
            threshold=2.0,
            bench=DILUTED,
            own=_llava(data="POPE behind a sentence on colours"),
        ),
    ),
    check=check,
    cost=Cost(minutes=25.0, quick_minutes=2.0, memory_gb=1.0),
    entries=(
        Entry(
            board="hallucination",
            name="vision-head-reinforcement",
            method=on_board,
            trials=({"alpha": 1.5}, {"alpha": 2.0}, {"alpha": 3.0}),
        ),
    ),
)
