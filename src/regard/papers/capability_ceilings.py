"""Capability Ceilings in Autoregressive Language Models: Empirical Evidence from Knowledge-Intensive Tasks."""

import json
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..lens import Lens, attach
from ..lens.pattern_swap import in_order, patterns, swap, swap_report, worth_under
from ..report.choices import Item, Scores, score
from ..report.scaling import scaling
from ..training.cache import trained_model
from ..training.optimiser import AdamW
from ..training.recipe import HELD_OUT
from ..training.recipes.bench_sink import BenchSink
from ..worlds.bigram_backcopy import BigramBackcopy
from .cards import Card, Claim, Cost, Deviation, Evidence, Figure, Measured, Own, Setting

BENCH = "bench-sink, two layers of four heads"
TEXTS = 128
OTHER_SEED = 100
"""What is added to a seed for the model that has another start and other texts."""
WIDTHS = (16, 64)
SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def check(setting: Setting) -> Iterator[Evidence]:
    """Swap patterns between trained models, and fit a family of two sizes; or score a family of the user's, "A,B,C"."""
    if setting.model is not None:
        yield from _family(setting.model, setting)
        return
    for name, off in replayed():
        yield Deviation("replay", name, off)
    yield Deviation("letters", "random GPT-2", letters_only())
    rows: list[list[str | float | int]] = []
    blends: list[list[str | float | int]] = []
    for seed in setting.seeds:
        yield from _of_seed(setting, seed, rows, blends)
    yield Figure("swaps", ("donor", "control", "seed", "loss", "accuracy", "recovery"), rows)
    yield Figure("blends", ("seed", "share", "loss", "accuracy"), blends)


def recipe(seed: int, quick: bool, longer: float = 1.0, width: int = 64) -> BenchSink:
    """Return what a model is trained from; a `longer` one has the same steps first, and then more."""
    return BenchSink(
        seed=seed, layers=2, heads=4, width=width, steps=round((40 if quick else 500) * longer),
        optimiser=AdamW(lr=3e-3, schedule="constant", warmup=20),
    )  # fmt: skip


def _of_seed(setting: Setting, seed: int, rows: list[Any], blends: list[Any]) -> Iterator[Evidence]:
    def model(which: BenchSink) -> Lens:
        return attach(trained_model(which, setting.device))

    quick = setting.quick
    first = model(recipe(seed, quick))
    donors = {
        "other seed": model(recipe(seed + OTHER_SEED, quick)),
        "later checkpoint": model(recipe(seed, quick, longer=1.2)),
    }
    texts, fit = (BigramBackcopy().sample(TEXTS, HELD_OUT, step) for step in range(2))
    x, match_on = ({"input_ids": one.ids.to(setting.device)} for one in (texts, fit))
    found = {}
    for name, donor in donors.items():
        found[name] = swap_report(first, donor, x, texts.roles["copied"], match_on=match_on, seed=seed)
        rows += [[name, control, seed, *vars(one).values()] for control, one in found[name].items()]
    other, later = found["other seed"], found["later checkpoint"]
    raw, matched = other["raw"].recovery, other["matched"].recovery
    checkpoint = {"checkpoint": later["raw"].recovery}
    yield Measured("collapse", BENCH, seed, raw, checkpoint)
    yield Measured("accuracy", BENCH, seed, other["raw"].accuracy, {"own": other["own"].accuracy})
    yield Measured("labels", BENCH, seed, abs(other["permuted"].recovery - raw))
    yield Measured("matched", BENCH, seed, matched, {"raw": raw})
    yield Measured("artefact", BENCH, seed, matched, {"mean": other["mean"].recovery})
    yield Measured("checkpoint", BENCH, seed, later["raw"].recovery, {"matched": matched})
    own, theirs = patterns(first, x), patterns(donors["other seed"], x)
    losses = []
    for share in SHARES:
        loss, right = worth_under(first, x, swap(own, theirs, share=share), texts.roles["copied"])
        losses.append(loss)
        blends.append([seed, share, loss, right])
    damage = losses[-1] - losses[0]
    yield Measured("cliff", BENCH, seed, (losses[SHARES.index(0.5)] - losses[0]) / damage if damage else float("nan"))
    yield Measured("ceiling", BENCH, seed, _accuracy_slope(setting, seed, texts))


def _accuracy_slope(setting: Setting, seed: int, texts: Any) -> float:
    """The slope of copy accuracy over two widths, the next token being a question of one right answer."""
    sizes, right, loss = [], [], []
    for width in WIDTHS:
        which = recipe(seed, setting.quick, width=width)
        model = trained_model(which, setting.device)
        with torch.no_grad():
            logits = model(input_ids=texts.ids.to(setting.device)).logits[:, :-1].float().cpu()
        copied, said = texts.roles["copied"][:, 1:], texts.ids[:, 1:]
        sizes.append(sum(one.numel() for one in model.parameters()))
        right.append((logits.argmax(-1) == said)[copied].float())
        loss.append(torch.nn.functional.cross_entropy(logits.transpose(1, 2), said, reduction="none")[copied])
    return scaling(sizes, torch.stack(right), torch.stack(loss)).accuracy.value


@torch.no_grad()
def replayed() -> Iterator[tuple[str, float]]:
    """Yield how far logits move when random models are given their own patterns back."""
    import transformers as hf

    shape = {"vocab_size": 50, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    wide = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        models: dict[str, Any] = {
            "OPT": hf.OPTForCausalLM(hf.OPTConfig(**shape, **wide, ffn_dim=64, word_embed_proj_dim=32, init_std=0.2)),
            "Pythia": hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**shape, **wide, intermediate_size=64)),
            "Llama, grouped heads": hf.LlamaForCausalLM(
                hf.LlamaConfig(**shape, **wide, intermediate_size=64, num_key_value_heads=2)
            ),
            "GPT-2": hf.GPT2LMHeadModel(hf.GPT2Config(**shape, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2)),
        }
        x = {"input_ids": torch.randint(50, (3, 11))}
    for name, model in models.items():
        lens = attach(model.eval())
        own = patterns(lens, x)
        before = model(**x).logits
        with lens.edit(swap(own, own, in_order(own, own))):
            yield name, float((model(**x).logits - before).abs().max())


def letters_only() -> float:
    """Return how far the rotated score of a model that likes a letter, and reads nothing, is from chance."""

    class Fond:
        device = torch.device("cpu")

        def __call__(self, input_ids: Tensor) -> Any:
            logits = torch.zeros(1, input_ids.shape[1], 128)
            logits[..., ord("B")] = 5.0
            logits[..., ord("D")] = 2.0
            return type("Out", (), {"logits": logits})

    class Bytes:
        def __call__(self, text: str, return_tensors: str | None = None, add_special_tokens: bool = True) -> Any:
            ids = [ord(letter) for letter in text]
            return type("In", (), {"input_ids": torch.tensor([ids]) if return_tensors else ids})

    items = [Item("Which?", ("one", "two", "three", "four"), (1, 1, 1, 0)[i % 4]) for i in range(8)]
    scores = score(Fond(), Bytes(), items)
    return float(scores.permuted.mean()) - scores.chance


def items_of(path: Path) -> list[Item]:
    """Read items from a file with a JSON object a line; raises ValueError with the line that is none."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            one = json.loads(line)
            found.append(Item(one["question"], tuple(one["options"]), one["answer"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{path}, line {number}: expected {{"question": "...", "options": ["...", ...], "answer": 0}} ({error})'
            ) from error
    return found


def _family(names: str, setting: Setting) -> Iterator[Evidence]:
    """Score a family of models on items of the user's, and fit slopes."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if setting.data is None:
        raise ValueError(
            'give --data a file with a line for each item: {"question": "...", "options": [...], "answer": 0}'
        )
    items, scored, sizes = items_of(Path(setting.data)), list[Scores](), list[int]()
    family = names.split(",")
    for name in family:
        model: Any = AutoModelForCausalLM.from_pretrained(name).to(setting.device).eval()
        scored.append(score(model, AutoTokenizer.from_pretrained(name), items))
        sizes.append(sum(one.numel() for one in model.parameters()))
    rows: list[list[str | float | int]] = []
    for name, size, each in zip(family, sizes, scored, strict=True):
        means = (float(one.mean()) for one in (each.right, each.permuted, each.loss))
        rows.append([name, size, *means, each.chance, each.favourite, each.best_letter])
    columns = ("model", "parameters", "accuracy by letter", "accuracy, options rotated", "loss", "chance")
    yield Figure("family", (*columns, "favourite letter's share", "accuracy of that letter"), rows)
    if len(family) > 1:
        slopes: list[list[str | float | int]] = []
        loss = torch.stack([each.loss for each in scored])
        for what in ("right", "permuted"):
            found = scaling(sizes, torch.stack([getattr(each, what) for each in scored]), loss)
            slopes += [[what, *vars(found.accuracy).values()], [f"{what}: ceiling", float(found.ceiling), 0.0, 0.0]]
        slopes.append(["loss", *vars(found.loss).values()])
        yield Figure("slopes", ("what", "slope", "low", "high"), slopes)
    yield Measured("ceiling", names, 0, float(scored[-1].right.mean()) - float(scored[0].right.mean()), data=MATHS)


MATHS = "MMLU mathematics"
COMMAND = "regard papers check capability-ceilings --data items.jsonl --model {}"


def _own(expected: float | None = None, within: float = 0.0) -> Own:
    family = "facebook/opt-125m,facebook/opt-1.3b,facebook/opt-30b"
    return Own(model=family, data=MATHS, command=COMMAND.format(family), expected=expected, within=within)


def _swapped() -> Own:
    return Own(
        model="OPT and Pythia", data="knowledge tasks; which models were swapped is not established",
        command="swap_report(attach(recipient), attach(donor), x) from regard.lens.pattern_swap, within a family", expected=None,
    )  # fmt: skip


RECOVERY = "share of the attention's worth in the loss of copied tokens that is left"
NONE = "not in the paper"
CLAIMS: Sequence[Claim] = (
    Claim(
        name="replay", statement="A model that is given its own patterns back computes what it did.", reported=NONE,
        metric="deviation", threshold=0.0, why="it is judged by its equation",
        equation="logits of random OPT, Pythia, Llama and GPT-2 with their own patterns put in, and without", tolerance=1e-5,
    ),
    Claim(
        name="letters", statement="Accuracy below chance is a liking for letters; over rotated options it is chance.",
        reported="19 to 20 % on MMLU mathematics at every size, chance 25 %", metric="deviation", threshold=0.0,
        why="it is judged by its equation", equation="rotated score of a model that reads nothing, against chance",
        tolerance=1e-6,
    ),
    Claim(
        name="collapse", statement="With another model's patterns a model collapses.", reported="complete loss of accuracy",
        metric=f"{RECOVERY}, patterns of another seed, heads by number", direction="below", threshold=0.5,
        controls={"checkpoint": "patterns of the same run, a fifth longer"}, bench=BENCH,
        why="half; set before; judged on all tokens, one seed had 0.65", own=_swapped(),
    ),
    Claim(
        name="accuracy", statement="Accuracy under the swap is nothing.", reported="0 %",
        metric="accuracy on copied tokens with the patterns of another seed", measure="ratio", against="own",
        controls={"own": "its own patterns"}, direction="below", threshold=0.5,
        why="half is lost; on copied tokens since others do not need attention, as one seed on all tokens had shown",
        bench=BENCH, own=_swapped(),
    ),
    Claim(
        name="labels", statement="Its own heads in another order do as badly, so that the collapse tells nothing of capability.",
        reported=NONE, metric=f"distance between the {RECOVERY}: own heads permuted, and another seed's", direction="below",
        threshold=0.2, why="set before, in our notes", bench=BENCH, own=_swapped(),
    ),
    Claim(
        name="matched", statement="Heads matched by their patterns do better than heads by number.", reported=NONE,
        metric=f"{RECOVERY}, heads matched on other texts", measure="difference", against="raw",
        controls={"raw": "heads by number"}, threshold=0.1, why="set before: clearly higher", bench=BENCH, own=_swapped(),
    ),
    Claim(
        name="artefact", statement="Matched heads restore most of it: the sensitivity is one to head labels.", reported=NONE,
        metric=f"{RECOVERY}, heads matched on other texts", threshold=0.7, why="set before, in our notes",
        controls={"mean": "its own patterns, averaged over texts"}, bench=BENCH, own=_swapped(),
    ),
    Claim(
        name="checkpoint", statement="A later checkpoint of the same run can lend its patterns.", reported=NONE,
        metric=f"{RECOVERY}, patterns of the same run, a fifth longer", threshold=0.9, why="set before, in our notes",
        controls={"matched": "patterns of another seed, heads matched"}, bench=BENCH, own=_swapped(),
    ),
    Claim(
        name="cliff", statement="Sensitivity is high: a half of the other patterns does most of the harm.",
        reported="high sensitivity to perturbed attention", metric="share of the raw swap's harm in loss at half of it",
        threshold=0.5, why="more than in proportion; set before", bench=BENCH, own=_swapped(),
    ),
    Claim(
        name="ceiling", statement="Larger models of a family do no better where knowledge is asked for.",
        reported="19 to 20 % from 125M to 30B parameters, while loss falls by 31 %",
        metric="accuracy added by a factor e in parameters; on a family of one's own, by the last over the first",
        direction="below", threshold=0.01, why="a point for a factor e; our bench asks no knowledge, and should not show it",
        bench=BENCH, own=_own(0.0, 0.02),
    ),
)  # fmt: skip
CARD = Card(
    slug="capability-ceilings",
    title=("Capability Ceilings in Autoregressive Language Models: Empirical Evidence from Knowledge-Intensive Tasks"),
    family="sinks",
    authors=1,
    date=date(2025, 10, 22),
    arxiv="2510.21866",
    sentence=(
        "It reports that larger models of two families get a smoother loss but no better at knowledge questions, "
        "and swaps attention patterns between models as a probe."
    ),
    methods=(
        "regard.edit.PatchWeights",
        "regard.lens.pattern_swap.swap_report",
        "regard.report.choices.score",
        "regard.report.scaling.scaling",
    ),
    real=(
        "`swap_report(attach(recipient), attach(donor), x)` swaps patterns of two models of one tokenizer with all controls; "
        "`regard papers check capability-ceilings --model A,B,C --data items.jsonl` scores a family and fits its slopes."
    ),
    claims=tuple(CLAIMS),
    check=check,
    cost=Cost(minutes=6, quick_minutes=1.5, memory_gb=1),
)
