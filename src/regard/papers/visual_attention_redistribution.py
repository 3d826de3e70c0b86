"""See What You Are Told: Visual Attention Sink in Large Multimodal Models."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..core.call import Call
from ..core.effects import Block, Effect, Mix, Stage
from ..core.protocols import Causality, Edit, Terms
from ..core.terms import Block as Place
from ..core.where import Where
from ..edit.visual_sinks import OTHER, SHOWN, VISUAL, RedistributeVisualSinks, behind_image
from ..lens import Lens, attach
from ..lens.sink_dims import SinkDims, find_sink_dims
from .cards import Card, Claim, Cost, Deviation, Entry, Evidence, Figure, Measured, Own, Setting
from .cards.pope import pope

BENCH = "bench-vlm with 4 constant patches"
LAYERS = (1, 2)
"""Of the bench model's three; the paper leaves out the first two and the last, which would leave none."""
ITEMS = 3000
DRAWN = 4_000_037
"""The seed of the pictures, of which no model was trained on any."""


@dataclass(frozen=True, eq=False)
class Masked:
    """Hide the visual sinks of each layer from the queries behind the image, or as many image tokens drawn at random."""

    sinks: RedistributeVisualSinks
    seed: int | None = None
    stage: Stage = "scores"
    causality: Causality = "sequence"

    @property
    def where(self) -> Where:
        """The layers in which sinks are looked for."""
        return self.sinks.where

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        image = call.keys("image")
        hidden = self.sinks.sinks(call, state) & image
        if self.seed is not None:
            generator = torch.Generator().manual_seed(1000 * self.seed + call.site.layer)
            order = (
                torch.rand(image.shape, generator=generator)
                .to(image.device)
                .masked_fill(~image, 2.0)
                .argsort(-1)
                .argsort(-1)
            )
            hidden = order < hidden.sum(-1, keepdim=True)
        yield {}
        behind = behind_image(call)
        return Block(hidden[:, None]).only(behind[:, None])


@dataclass(frozen=True, eq=False)
class Misplaced:
    """Move as much attention as the gate lets move, in heads drawn at random for each query."""

    sinks: RedistributeVisualSinks
    seed: int
    stage: Stage = "weights"
    causality: Causality = "sequence"

    @property
    def where(self) -> Where:
        """The layers of the gated edit."""
        return self.sinks.where

    def plan(self, call: Call, state: dict[str, Any]) -> Generator[Terms, dict[str, Any], Effect | None]:
        effect = yield from self.sinks.plan(call, state)
        if not isinstance(effect, Mix):
            return None
        generator = torch.Generator().manual_seed(1000 * self.seed + call.site.layer)
        order = (
            torch.rand(call.op.batch, call.op.heads, call.op.q_len, generator=generator).argsort(1).to(call.q.device)
        )
        behind = behind_image(call)

        def factors(mass: Tensor, block: Place) -> Tensor:
            rows = slice(*block.rows)
            acting = behind[:, None, rows]
            gated = self.sinks.gate(mass) & acting
            drawn = gated.gather(1, order[:, :, rows])
            there = mass[..., SHOWN] > torch.finfo(mass.dtype).eps ** 2
            sunk = mass[..., VISUAL] + mass[..., OTHER]
            wanted = (self.sinks.move * sunk * gated).sum(1, keepdim=True)
            share = (wanted / (sunk * (drawn & there)).sum(1, keepdim=True).clamp_min(1e-12)).clamp_max(1.0)
            moved = share * (drawn & there)
            return torch.stack([1 - moved, 1 - moved, 1 + moved * sunk / mass[..., SHOWN].where(there, 1.0)], -1)

        return replace(effect, weights=factors)


def edit_of(found: SinkDims, **given: Any) -> RedistributeVisualSinks:
    """Return the method for the sink dimensions that were found, with a threshold for the model's width."""
    return RedistributeVisualSinks(found.dims, layers=found.layers, tau=None, **given)


def bench_dims(lens: Lens) -> SinkDims:
    """Return the sink dimensions of a bench model, read off its first token in the layers that it has."""
    device = next(lens.model.parameters()).device
    return find_sink_dims(lens, [{"input_ids": torch.zeros(1, 1, dtype=torch.long, device=device)}], layers=LAYERS)


def check(setting: Setting) -> Iterator[Evidence]:
    """Yield the deviations from the plain formula, and every claim in the bench model or in the user's."""
    if setting.model is not None:
        yield from _own(setting)
        return
    yield from _exact()
    rows: list[Sequence[str | float | int]] = []
    for seed in setting.seeds:
        yield from _bench(seed, setting, rows)
    yield Figure("arms", ("seed", "arm", "contrary", "consistent"), rows)


def _bench(seed: int, setting: Setting, rows: list[Sequence[str | float | int]]) -> Iterator[Evidence]:
    from ..training.cache import trained_model
    from ..training.recipes.bench_vlm import RECIPE, accuracy
    from ..worlds.patches import Patches

    recipe = replace(RECIPE, seed=seed, pictures=Patches(sinks=4), steps=100 if setting.quick else RECIPE.steps)
    model = trained_model(recipe, setting.device)
    lens = attach(model, check=False)
    found = bench_dims(lens)
    count = 300 if setting.quick else ITEMS
    shown = {colours: recipe.shown(count, colours, seed=DRAWN) for colours in ("contrary", "consistent", "language")}

    def right(edit: Edit | None, colours: str) -> float:
        with nullcontext() if edit is None else lens.edit(edit):
            return accuracy(model, shown[colours])

    if not found.dims:
        rows.append((seed, "no sink dimension", float("nan"), float("nan")))
        return
    gated = edit_of(found)
    arms: dict[str, Edit | None] = {
        "base": None,
        "gated": gated,
        "all": edit_of(found, min_image_mass=0.0, min_nonsink_share=0.0),
        "random": Misplaced(gated, seed),
        "rest": edit_of(found, give_to="rest"),
        "without the last layer": replace(gated, layers=LAYERS[:1]),
    }
    contrary = {name: right(edit, "contrary") for name, edit in arms.items()}
    rows += [(seed, name, contrary[name], right(edit, "consistent")) for name, edit in arms.items()]
    controls = {name: contrary[name] for name in ("base", "rest")}
    yield Measured("gain", BENCH, seed, contrary["gated"], controls)
    yield Measured("gate", BENCH, seed, contrary["gated"], {name: contrary[name] for name in ("all", "random")})
    hidden = {"random": right(Masked(gated, seed), "language"), "none": right(None, "language")}
    value = right(Masked(gated), "language")
    yield Measured("masking", BENCH, seed, value, {"random": hidden["random"]})
    rows += [(seed, f"language, {name}", one, float("nan")) for name, one in {**hidden, "sinks hidden": value}.items()]


def _exact() -> Iterator[Deviation]:
    """Compare the edit with the formula written out on maps, in a Llama whose sinks are planted."""
    from transformers import LlamaConfig

    from ..training.patch_llama import PatchLlama

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=20, hidden_size=64, intermediate_size=64, num_hidden_layers=5, num_attention_heads=4,
        num_key_value_heads=2, patch_features=6, image_token_id=1,
    )  # fmt: skip
    model = PatchLlama(config).eval()
    ids = torch.tensor([[0, *[1] * 6, 5, 6, 7]])
    patches = torch.randn(1, 6, 6)
    with torch.no_grad():
        model.projector.weight.mul_(0.1)
        model.projector.weight[9, 0] += 30
        model.model.embed_tokens.weight[0, 9] = 5
        patches[:, :, 0] = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    lens = attach(model, check=False)
    edit = RedistributeVisualSinks((9,), layers=(2, 3), tau=None, min_image_mass=0.2)
    x = {"input_ids": ids, "patches": patches}
    plain = lens.weights(x, 2)[0]
    with lens.edit(replace(edit, layers=(2,))):  # whose inputs are those of the plain run
        edited = lens.weights(x, 2)[0]
    expected = written_out(plain, sinks=[0, 2, 5], image=range(1, 7), move=edit.move, least=0.2, share=0.5)
    yield Deviation("exact", "weights of one layer, float32", float((edited - expected).abs().max()))
    yield Deviation("exact", "row sums, float32", float((edited.sum(-1) - 1).abs().max()))


def written_out(
    weights: Tensor, sinks: Sequence[int], image: Sequence[int], move: float, least: float, share: float
) -> Tensor:
    """Return weights [head, query, key] after the paper's equations, entry by entry."""
    new = weights.clone()
    visual = [key for key in image if key in sinks]
    shown = [key for key in image if key not in sinks]
    for head in range(weights.shape[0]):
        for query in range(max(image) + 1, weights.shape[1]):
            row = weights[head, query]
            on_sinks, on_shown = float(row[visual].sum()), float(row[shown].sum())
            if on_sinks + on_shown < least or on_shown < share * (on_sinks + on_shown):
                continue
            budget = move * float(row[list(sinks)].sum())
            for key in sinks:
                new[head, query, key] = (1 - move) * row[key]
            for key in shown:
                new[head, query, key] = row[key] * (1 + budget / on_shown)
    return new


def _own(setting: Setting) -> Iterator[Measured]:
    """Yield the F1 score of a user's model on questions whether an object is in an image."""
    asked = pope(setting)
    assert setting.model is not None
    found = find_sink_dims(asked.lens, [question["text"] for question in asked.questions[:5]])
    gated = edit_of(found)
    arms: dict[str, list[Edit]] = {
        "base": [],
        "gated": [gated],
        "all": [edit_of(found, min_image_mass=0.0, min_nonsink_share=0.0)],
        "random": [Misplaced(gated, 0)],
        "rest": [edit_of(found, give_to="rest")],
        "hidden": [Masked(gated)],
        "hidden at random": [Masked(gated, 0)],
    }
    f1 = {name: asked.f1(asked.said(partial(_within, asked.lens, edits))[0]) for name, edits in arms.items()}
    yield Measured("gain", setting.model, 0, f1["gated"], {"base": f1["base"], "rest": f1["rest"]}, "POPE")
    yield Measured("gate", setting.model, 0, f1["gated"], {"all": f1["all"], "random": f1["random"]}, "POPE")
    yield Measured("masking", setting.model, 0, f1["hidden"], {"random": f1["hidden at random"]}, "POPE")


def _within(lens: Lens, edits: Sequence[Edit], x: Mapping[str, Any]) -> AbstractContextManager[Any]:
    return lens.edit(*edits)


def on_board(lens: Lens, x: Mapping[str, Tensor], trial: Mapping[str, Any], seed: int) -> AbstractContextManager[Any]:
    """The method as the board `hallucination` takes it."""
    found = bench_dims(lens)
    return lens.edit(edit_of(found, **trial)) if found.dims else nullcontext()


def _pope(expected: float, within: float) -> Own:
    return Own(
        model="llava-hf/llava-1.5-7b-hf",
        data="POPE",
        command="regard papers check visual-attention-redistribution --model llava-hf/llava-1.5-7b-hf --data pope.jsonl "
        "--device cuda",
        expected=expected,
        within=within,
    )


CARD = Card(
    slug="visual-attention-redistribution",
    title="See What You Are Told: Visual Attention Sink in Large Multimodal Models",
    family="vlm",
    authors=4,
    date=date(2025, 3, 5),
    arxiv="2503.03321",
    sentence=(
        "It tells image tokens that draw much attention but show only background by a few huge hidden values, and "
        "moves part of the attention on sinks to the other image tokens in heads that look at the image."
    ),
    methods=("regard.edit.RedistributeVisualSinks", "regard.lens.sink_dims.find_sink_dims"),
    real=(
        "sinks = find_sink_dims(lens, texts); with lens.edit(RedistributeVisualSinks(sinks.dims, layers=sinks.layers)): "
        "model.generate(**x). Expected: dimensions 1415 and 2533 in Llama-2-7B, 458 and 2570 in Qwen2-VL-7B, and a POPE F1 "
        "0.3 to 1.0 higher on LLaVA-1.5-7B; CHAIR is not expected to fall."
    ),
    claims=(
        Claim(
            name="exact",
            statement="A share of each gated row's mass on sinks goes to image tokens that are none; rows keep their mass.",
            reported="equations of section 4",
            metric="largest difference from the equations written out on the map",
            why="float32 rounding",
            threshold=0.0,
            equation="weights and row sums after the edit, against loops over the map",
            tolerance=1e-5,
        ),
        Claim(
            name="masking",
            statement="Hiding visual sinks costs less than hiding as many image tokens at random.",
            reported="masking visual sinks does not hurt (abstract)",
            metric="accuracy with visual sinks hidden, in the bench's own language of colours",
            why="the paper's comparison; any difference on its side",
            measure="difference",
            against="random",
            controls={"random": "as many image tokens drawn at random are hidden"},
            threshold=0.0,
            bench=BENCH,
            own=_pope(85.4, 1.0),
        ),
        Claim(
            name="gain",
            statement="Moving attention from sinks to the other image tokens makes answers follow the image.",
            reported="POPE F1 85.4 to 86.0 on LLaVA-1.5-7B, by a third party",
            metric="accuracy where the colour is never the expected one",
            why="any gain; the same attention given to text must gain less",
            measure="difference",
            against="base",
            controls={
                "base": "unedited",
                "rest": "the attention goes to tokens that are neither sinks nor of the image",
            },
            threshold=0.0,
            bench=BENCH,
            own=_pope(86.0, 0.7),
        ),
        Claim(
            name="gate",
            statement="Only heads that look at the image should be changed: in all heads it does harm.",
            reported="applied to all heads it degrades strongly (ablation)",
            metric="accuracy where the colour is never the expected one",
            why="the gate has to be better than no gate and than chance",
            measure="difference",
            against="all",
            controls={
                "all": "every head, for every query behind the image",
                "random": "as much attention, in random heads",
            },
            threshold=0.0,
            bench=BENCH,
            own=_pope(86.0, 0.7),
        ),
    ),
    check=check,
    cost=Cost(minutes=8.0, quick_minutes=1.0, memory_gb=1.0),
    entries=(
        Entry(
            board="hallucination",
            name="visual-attention-redistribution",
            method=on_board,
            trials=({"move": 0.3}, {"move": 0.6}, {"move": 0.9}),
        ),
    ),
)
