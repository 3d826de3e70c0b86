"""Attention Sinks in Massively Multilingual Neural Machine Translation: Discovery, Analysis, and Mitigation."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..edit import ScaleKeys
from ..lens import Lens, attach
from ..lens.cross_maps import CrossMaps, decoder_inputs, generated, teacher_forced
from ..measure.cross_sinks import (
    aligned,
    class_mass,
    content_only,
    filtered,
    flatness,
    mean_distribution,
    null_score,
    spike_flatness,
)
from ..segments.source_classes import CLASSES, source_classes
from ..training.cache import trained_model
from ..training.recipes.bench_translation import BenchTranslation, told
from ..worlds.parallel import Pairs
from .cards import Card, Claim, Cost, Deviation, Evidence, Figure, Measured, Own, Setting

BENCH = "bench-translation, 2+2 layers"
DRAWN = 4_000_037
"""The seed of the pairs, of which no model was trained on any."""
CONTENT, EOS, TAG = (CLASSES.index(name) for name in ("content", "eos", "tag"))


def check(setting: Setting) -> Iterator[Evidence]:
    """Compare filters and maps with their definitions, and measure trained translation models; or a user's model on pairs."""
    if setting.model is not None:
        yield from _given(setting)
        return
    yield from _equations()
    rows: list[list[str | float | int]] = []
    for seed in setting.seeds:
        seen = {end: _seen(setting, seed, end) for end in ("last", "first", "none")}
        rows += [[end, seed, *one.row] for end, one in seen.items()]
        yield from _claims(seen["last"], seen["first"], setting, seed)
    names = (
        "eos",
        "tag",
        "words",
        "filler steps off words",
        "word steps off words",
        "raw alignment",
        "filtered",
        "z",
        "accuracy",
    )
    yield Figure("twins", ("</s>", "seed", *names), rows)


@dataclass(frozen=True, eq=False)
class Seen:
    """A trained model on pairs, with its maps by the reference; `rows` [example, step, source] are over layers and heads."""

    model: Any
    lens: Lens
    pairs: Pairs
    maps: CrossMaps
    classes: Tensor

    @property
    def rows(self) -> Tensor:
        return self.maps.weights.double().mean((1, 2))

    @property
    def gold(self) -> Tensor:
        """Which source word each step's next token translates."""
        return self.pairs.alignment[:, 1:]

    def off_words(self, role: str) -> float:
        """The mean mass that is not on words, of the steps before tokens of a role."""
        mass = 1 - class_mass(self.rows, self.classes[:, None], len(CLASSES))[..., CONTENT]
        return float(mass[self.pairs.target.roles[role][:, 1:]].mean())

    @property
    def row(self) -> list[float]:
        """Its numbers for the figure."""
        mass = class_mass(mean_distribution(self.maps.weights, self.maps.steps), self.classes, len(CLASSES)).mean(0)
        only = content_only(self.rows, self.classes).nan_to_num(0.0)
        return [
            *(float(mass[place]) for place in (EOS, TAG, CONTENT)),
            self.off_words("filler"),
            self.off_words("word"),
            aligned(self.rows, self.gold),
            aligned(self.rows, self.gold, self.classes),
            null_score(only, self.gold, self.classes),
            told(self.model, self.pairs),
        ]


def classes_of(pairs: Pairs) -> Tensor:
    """Return the classes of a source of `Parallel`, [example, source]: words are content, padding is -1."""
    roles, classes = pairs.source.roles, torch.full_like(pairs.source.ids, -1)
    for role, number in (("word", CONTENT), ("eos", EOS), ("tag", TAG)):
        classes[roles[role]] = number
    return classes


def _seen(setting: Setting, seed: int, end: Any) -> Seen:
    steps = 40 if setting.quick else BenchTranslation().steps
    recipe = BenchTranslation(seed=seed, end=end, steps=steps, evaluate_every=steps, checkpoint_every=steps)
    model = trained_model(recipe, setting.device)
    pairs = recipe.language.sample(64 if setting.quick else 256, DRAWN)
    return look(model, pairs)


def look(model: Any, pairs: Pairs) -> Seen:
    """Return a model's maps on pairs."""
    lens = attach(model, check=False)
    given = {name: value.to(model.device) for name, value in pairs.inputs().items()}
    maps = teacher_forced(lens, given, given["decoder_input_ids"], pad=0, eos=1)
    return Seen(model, lens, pairs, maps, classes_of(pairs))


def moved(pairs: Pairs, seed: int) -> tuple[dict[str, Tensor], Tensor]:
    """Return inputs in which `</s>` stands in a random place among the words, and where that is, [example].

    The tokens behind its new place move one back, so that a word is where `</s>` was.
    """
    ids = pairs.source.ids.clone()
    lengths = pairs.source.valid.sum(1)
    generator = torch.Generator().manual_seed(seed)
    places = (1 + torch.rand(len(ids), generator=generator) * (lengths - 2)).long()
    for row, (place, length) in enumerate(zip(places.tolist(), lengths.tolist(), strict=True)):
        ids[row, place:length] = torch.cat([ids[row, length - 1 : length], ids[row, place : length - 1]])
    return {**pairs.inputs(), "input_ids": ids}, places


def _claims(last: Seen, first: Seen, setting: Setting, seed: int) -> Iterator[Measured]:
    steps, classes = last.maps.steps, last.classes
    raw = mean_distribution(last.maps.weights, steps)
    content = float(class_mass(raw, classes, len(CLASSES))[:, CONTENT].mean())
    yield Measured("off-words", BENCH, seed, 1 - content, {"tokens": float((classes > 0).sum() / (classes >= 0).sum())})
    yield Measured("filler", BENCH, seed, last.off_words("filler"))
    yield Measured("dormant", BENCH, seed, last.off_words("filler"), {"word": last.off_words("word")})
    yield Measured("alignment", BENCH, seed, aligned(last.rows, last.gold, classes))
    yield Measured(
        "recovered", BENCH, seed, aligned(last.rows, last.gold, classes), {"raw": aligned(last.rows, last.gold)}
    )
    flat = float(flatness(filtered(last.maps.weights, steps, classes).distribution, classes == CONTENT).mean())
    yield Measured("similarity", BENCH, seed, flat, {"raw": float(flatness(raw, classes >= 0).mean())})
    given, places = moved(last.pairs, seed)
    device = last.model.device
    given = {name: value.to(device) for name, value in given.items()}
    rows = teacher_forced(last.lens, given, given["decoder_input_ids"], pad=0, eos=1).weights.double().mean((1, 2))
    filler = last.pairs.target.roles["filler"][:, 1:]
    there, slot = (
        float(rows.gather(2, at[:, None, None].expand(-1, rows.shape[1], 1))[..., 0][filler].mean())
        for at in (places, last.pairs.source.valid.sum(1) - 1)
    )
    yield Measured("identity", BENCH, seed, there, {"slot": slot})
    on = class_mass(first.rows, first.classes[:, None], len(CLASSES))[first.pairs.target.roles["filler"][:, 1:]].mean(0)
    yield Measured("identity-first", BENCH, seed, float(on[EOS]), {"last": float(on[TAG])})
    accuracy = {"plain": told(last.model, last.pairs)}
    for name, renormalise in (("zeroed", False), ("masked", "one")):
        factors = (last.classes != EOS).float().to(device)
        with last.lens.edit(ScaleKeys(factors, renormalise, role="cross")):  # type: ignore[arg-type]
            accuracy[name] = told(last.model, last.pairs)
    yield Measured("no-op", BENCH, seed, accuracy["zeroed"], {name: accuracy[name] for name in ("plain", "masked")})
    yield Measured("modes", BENCH, seed, *_modes(last, content))


def _modes(last: Seen, content: float) -> tuple[float]:
    """Return how far the mass off words of a generation is from that by the reference, in points."""
    source = {name: value.to(last.model.device) for name, value in last.pairs.inputs().items() if name in _SOURCE}
    said = generated(
        last.lens, source, max_length=last.pairs.target.ids.shape[1], decoder_input_ids=_begun(last.pairs, last.model)
    )
    mass = class_mass(mean_distribution(said.weights, said.steps), last.classes, len(CLASSES))
    return (100 * abs(float(mass[:, CONTENT].mean()) - content),)


_SOURCE = ("input_ids", "attention_mask")


def _begun(pairs: Pairs, model: Any) -> Tensor:
    """Return what every target begins with: `</s>` and its language's tag."""
    return pairs.target.ids[:, :2].to(model.device)


def _equations() -> Iterator[Deviation]:
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    language = BenchTranslation().language
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        config = M2M100Config(
            vocab_size=language.vocabulary, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
            decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, pad_token_id=0, bos_token_id=1,
            eos_token_id=1, decoder_start_token_id=1, init_std=0.5, max_position_embeddings=64,
        )  # fmt: skip
        model: Any = M2M100ForConditionalGeneration(config).eval()
    pairs = language.sample(5, 3)
    x = {name: value for name, value in pairs.inputs().items() if name in _SOURCE}
    lens = attach(model, check=False)
    said = generated(lens, x, decoder_input_ids=pairs.target.ids[:, :2], max_length=12)
    forced = teacher_forced(lens, x, said.ids, pad=0)
    yield Deviation("modes-exact", "5 sources", float((said.weights - forced.weights)[_real(said)].abs().max()))
    classes = classes_of(pairs)
    rows = forced.weights.double().mean((1, 2))
    once = content_only(rows, classes)
    yield Deviation("filter", "rows sum to 1", float((once.sum(-1) - 1).abs().max()))
    yield Deviation("filter", "twice is once", float((content_only(once, classes) - once).abs().max()))
    every = torch.where(classes >= 0, CONTENT, -1)
    yield Deviation("filter", "nothing to filter", float((content_only(rows, every) - rows).abs().max()))
    total = class_mass(rows, classes[:, None], len(CLASSES)).sum(-1)
    yield Deviation("filter", "classes sum to 1", float((total - 1).abs().max()))
    yield Deviation("filter", "padding", float((rows * (classes < 0)[:, None]).abs().max()))
    for share, tokens in ((0.83, 20), (0.5, 7)):
        spike = torch.full((1, tokens), (1 - share) / (tokens - 1), dtype=torch.float64)
        spike[0, 3] = share
        kinds = torch.zeros(1, tokens, dtype=torch.long)
        kinds[0, 3] = EOS
        before = float(flatness(spike, kinds >= 0)) - spike_flatness(share, tokens)
        after = float(flatness(content_only(spike, kinds), kinds == CONTENT)) - 1
        yield Deviation("spike", f"{share} on one of {tokens}", max(abs(before), abs(after)))


def _real(maps: CrossMaps) -> Tensor:
    """Return which entries are of real steps, [example, layer, head, step, source]."""
    return maps.steps[:, None, None, :, None].expand_as(maps.weights)


def _given(setting: Setting) -> Iterator[Evidence]:
    """Measure a user's model on pairs of texts."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    if setting.data is None:
        raise ValueError(
            'give --data a file of pairs, a JSON object a line: {"source": "...", "target": "...", "source_language": '
            '"eng_Latn", "target_language": "swh_Latn"}, the languages as the tokenizer names them, or without where it has none'
        )
    pairs = [json.loads(line) for line in Path(setting.data).read_text(encoding="utf-8").splitlines() if line.strip()]
    tokenizer: Any = AutoTokenizer.from_pretrained(setting.model)
    model: Any = AutoModelForSeq2SeqLM.from_pretrained(setting.model).to(setting.device).eval()
    lens, name = attach(model, tokenizer), str(setting.model)
    found = [measure_pair(lens, tokenizer, pair) for pair in (pairs[:20] if setting.quick else pairs)]
    mean = {key: sum(one[key] for one in found) / len(found) for key in found[0]}
    for seed in setting.seeds:  # one set of pairs, so that all seeds are alike
        yield Measured("off-words", name, seed, 1 - mean["content"], {"tokens": mean["tokens"]}, "FLORES")
        yield Measured("similarity", name, seed, mean["filtered"], {"raw": mean["raw"]}, "FLORES")
        yield Measured("modes", name, seed, 100 * abs(mean["content"] - mean["said"]), data="FLORES")
    yield Figure("mass", ("class", "mass"), [[key, mean[key]] for key in CLASSES])


def measure_pair(lens: Lens, tokenizer: Any, pair: Mapping[str, str]) -> dict[str, float]:
    """Return the mass on each class, the share of tokens off words, flatness raw and filtered, and content when generating."""
    for side, attribute in (("source", "src_lang"), ("target", "tgt_lang")):
        if code := pair.get(f"{side}_language"):
            setattr(tokenizer, attribute, code)
    given = tokenizer(pair["source"], text_target=pair["target"], return_tensors="pt").to(lens.model.device)
    model: Any = lens.model
    x = {"input_ids": given["input_ids"], "attention_mask": given["attention_mask"]}
    decoder = decoder_inputs(model, {**x, "labels": given["labels"]})
    classes = source_classes(tokenizer, x["input_ids"], x["attention_mask"])
    maps = teacher_forced(lens, x, decoder)
    raw = mean_distribution(maps.weights, maps.steps)
    mass = class_mass(raw, classes, len(CLASSES))[0]
    forced = {}
    if code := pair.get("target_language"):
        forced["forced_bos_token_id"] = tokenizer.convert_tokens_to_ids(code)
    said = generated(lens, x, max_new_tokens=2 * decoder.shape[1] + 8, **forced)
    there = class_mass(mean_distribution(said.weights, said.steps), classes, len(CLASSES))[0, CONTENT]
    return {
        **{name: float(mass[place]) for place, name in enumerate(CLASSES)},
        "tokens": float((classes > 0).float().mean()),
        "raw": float(flatness(raw, classes >= 0)),
        "filtered": float(flatness(filtered(maps.weights, maps.steps, classes).distribution, classes == CONTENT)),
        "said": float(there),
    }


def _nllb(expected: float | None, within: float = 0.0) -> Own:
    model = "facebook/nllb-200-distilled-600M"
    return Own(
        model=model, data="FLORES", expected=expected, within=within,
        command=f"regard papers check nmt-sinks --model {model} --data pairs.jsonl",
    )  # fmt: skip


ALIGNED = "share of word steps whose largest weight is on the right word, mean over layers and heads"
CLAIMS = (
    Claim(
        name="filter", statement="Filtered rows are distributions over words.", reported="a definition",
        metric="deviation", threshold=0.0, why="it is judged by its equation", tolerance=1e-6,
        equation="sums, a filter applied twice or to words alone, and padding, on a random M2M100",
    ),
    Claim(
        name="modes-exact", statement="Maps of a generation are those by the reference on the same tokens.",
        reported="a definition", metric="largest difference of a weight", threshold=0.0, tolerance=1e-5,
        why="it is judged by its equation", equation="steps of a greedy generation against one pass, on a random M2M100",
    ),
    Claim(
        name="spike", statement="Taking out one large weight makes the rest flatter whatever the rest is.",
        reported="not in the paper, whose 36.7 % and 70.7 % it bears on", metric="deviation of the cosine with even attention",
        threshold=0.0, why="it is judged by its equation", tolerance=1e-6,
        equation="one spike and an even rest, raw and filtered, against 1 / sqrt(n (s^2 + (1 - s)^2 / (n - 1))) and 1",
    ),
    Claim(
        name="off-words", statement="Most cross-attention is on tokens that are no words.", reported="83 to 91 %",
        metric="mean mass off words, over layers, heads and steps", threshold=0.5, why="most of it, set before",
        controls={"tokens": "the share of tokens that are no words"}, bench=BENCH, own=_nllb(0.87, 0.05),
    ),
    Claim(
        name="filler", statement="Where nothing of the source is needed, attention goes off the words.",
        reported="no number", metric="mean mass off words at fillers", threshold=0.5, why="most of it, set before",
        bench=BENCH, own=_nllb(None),
    ),
    Claim(
        name="dormant", statement="It goes there when there is nothing to look at.", reported="no number",
        metric="mean mass off words at fillers", measure="ratio", against="word", threshold=3.0,
        controls={"word": "at words"}, why="three times, set before", bench=BENCH, own=_nllb(None),
    ),
    Claim(
        name="alignment", statement="What is left after filtering tells which word is translated.",
        reported="by examples", metric=ALIGNED, threshold=0.9, why="nearly all, set before", bench=BENCH, own=_nllb(None),
    ),
    Claim(
        name="recovered", statement="Filtering recovers alignments that raw maps hide.", reported="by examples",
        metric=ALIGNED, measure="difference", against="raw", threshold=0.0, controls={"raw": "without filtering"},
        why="any gain, set before", bench=BENCH, own=_nllb(None),
    ),
    Claim(
        name="similarity", statement="Filtered attention is more like even attention.", reported="70.7 % against 36.7 %",
        metric="cosine with even attention", measure="difference", against="raw", threshold=0.0,
        controls={"raw": "without filtering"}, bench=BENCH, own=_nllb(0.707, 0.03),
        why="any gain; it follows from taking out a spike (claim spike), and is no sign of structure; set before",
    ),
    Claim(
        name="identity", statement="The sink is the end marker itself: it goes along when the marker is moved.",
        reported="blamed on the vocabulary, where place and identity are one", measure="difference", against="slot",
        metric="mass of the moved marker at fillers", controls={"slot": "of the word that is last now"}, threshold=0.0,
        why="more on the marker than on the place, set before", bench=BENCH, own=_nllb(None),
    ),
    Claim(
        name="identity-first", statement="It is the end marker also in a model whose sources end with the tag.",
        reported="not in the paper", metric="mass of the marker, which is first, at fillers", measure="difference",
        against="last", controls={"last": "of the tag, which is last"}, threshold=0.0,
        why="more on the marker than on the last token, set before", bench=BENCH, own=_nllb(None),
    ),
    Claim(
        name="no-op", statement="The sink adds nothing: without the marker's values a model translates as well.",
        reported="not in the paper", metric="share of words and fillers that are told", measure="difference",
        against="plain", threshold=-0.02, why="2 % at most, and better than without the marker's weights; set before",
        controls={"plain": "the model as it is", "masked": "its weights spread over the other tokens"},
        bench=BENCH, own=_nllb(None),
    ),
    Claim(
        name="modes", statement="Attention differs between the reference and the model's own words before it.",
        reported="16.9 points", metric="difference of the mass off words, points", threshold=5.0,
        why="a third of what the paper has, set before; a bench that is learnt has little to differ in", bench=BENCH,
        own=_nllb(16.9, 5.0),
    ),
)  # fmt: skip

CARD = Card(
    slug="nmt-sinks",
    title=("Attention Sinks in Massively Multilingual Neural Machine Translation: Discovery, Analysis, and Mitigation"),
    family="sinks",
    authors=2,
    date=date(2026, 5, 1),
    arxiv="2605.01229",
    sentence=(
        "It finds that most cross-attention of a many-language translation model falls on end marks, language "
        "tags and punctuation, and takes these columns out before attention is compared or used for alignment."
    ),
    methods=(
        "regard.segments.source_classes.source_classes",
        "regard.lens.cross_maps.teacher_forced",
        "regard.lens.cross_maps.generated",
        "regard.measure.cross_sinks.filtered",
        "regard.measure.cross_sinks.aligned",
        "regard.measure.SegmentMass",
    ),
    real=(
        "`maps = teacher_forced(lens, x, decoder_input_ids)`, `classes = source_classes(tokenizer, ids, mask)`, then "
        "`class_mass` and `filtered` of `regard.measure.cross_sinks`. "
        "`regard papers check nmt-sinks --model facebook/nllb-200-distilled-600M --data pairs.jsonl` measures pairs of texts."
    ),
    claims=CLAIMS,
    check=check,
    cost=Cost(minutes=12, quick_minutes=2, memory_gb=1),
)
