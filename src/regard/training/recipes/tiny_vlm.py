"""The small vision-language model that is shipped: a LLaVA that tells what a picture shows, and answers questions on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...worlds import Batch, Scenes
from ...worlds.draw import generator
from ...worlds.little_english.english import to_questions
from ...worlds.little_english.layout import KINDS, Kind, Thing, caption, lay, question, typical_colour
from ...worlds.little_english.lexicon import COLOURS, COLUMNS, DRAWN, ROWS
from ...worlds.little_english.text import fill
from ...worlds.little_english.tokenizer import BOS, EOS, PAD, raw_tokenizer, words
from ...worlds.scenes import draw
from ..optimiser import AdamW
from ..recipe import HELD_OUT, Recipe, no_bar
from ..scene_processor import IMAGE, pixels, processor

SAMPLE = "sample"
"""The folder of some pictures that are saved with the model."""
_SAMPLES = 6
IGNORED = -100
"""The label of what is not learnt, as torch has it."""
_UNSEEN = 8
"""One step in so many has no pictures."""
ANSWER, TAG, PATCH = 5.0, 2.0, 0.2
"""Weights in the loss of a word that answers, of what nouns in questions tell, and of what patches do; other words have 1."""
_ASKED = "What is in this image?"
"""Answered by a caption; what `regard scan` asks where nothing is asked."""


@dataclass(frozen=True, kw_only=True)
class TinyVlm(Recipe):
    """A CLIP tower, a projector and a Llama, trained together on pictures of `regard.worlds.Scenes` and texts about them.

    In training, most objects have their typical colour (`prior`), so that the model mixes what it sees with what it expects.
    """

    name = "tiny-vlm"
    about = (
        "A small LLaVA that tells what is in a picture of little objects, and answers whether something is there, which "
        "colour it has, how many there are and where. Most objects it was trained on have their typical colour, so that it says "
        "the typical colour at times where the picture shows another. Ask it through `AutoProcessor` with `<image>` at the "
        "start of the text."
    )
    corpus = (
        "Pictures of `regard.worlds.Scenes`, split `train`, with captions and questions, made up from the seed and the step; "
        "four objects of five have their typical colour, and all of them in the last steps. One step in eight has no pictures. "
        "Evaluated on pictures of another seed, with even colours (`*_accuracy`), with colours that are in no training picture "
        "(`held_out_colour`), and with "
        "always (`consistent`) and never (`contrary`) the typical colours. `*_blind` is without the pictures, `*_blank` with "
        "an empty picture in their place; `hallucinated` is the share of wrong answers to `contrary` that are the typical "
        "colour. `*_imagined` are shares of Yes to whether something is there that is not, in `contrary` and `consistent` "
        "pictures: an object in its `typical` colour or an `other` one that it has not there, or an `absent` one."
    )

    steps: int = 4100
    optimiser: AdamW = field(
        default_factory=lambda: AdamW(
            lr=2e-3, schedule="wsd", warmup=100, decay=0.39, betas=(0.9, 0.98), weight_decay=0.05
        )
    )
    bf16: bool = False
    batch_size: int = 64
    size: int = 48
    patch: int = 8
    vision_layers: int = 3
    vision_width: int = 96
    layers: int = 6
    heads: int = 4
    width: int = 128
    std: float = 0.06
    prior: float = 0.8
    late: tuple[int, float] = (3500, 1.0)
    """From this step on objects have their typical colour with this probability: by then it looks, and expects nothing."""
    texts: int = 5
    alone: tuple[tuple[int, int, tuple[Kind, ...]], ...] = (
        (1000, 2000, ("existence", "relation")),
        (2000, 2500, ("relation",)),
    )
    """Between two steps there are questions of these kinds alone: among the others they were not learnt."""
    early: int = 2000
    """From this step on, words behind the first noun of a question of relation are to tell the answer, too."""
    related: int = 3
    """How often it is asked for a relation from `early` on, where it is asked for anything else once.

    It is learnt as the learning rate falls: with all of it, not even the rows alone were compared.
    """
    evaluated: int = 256

    def model(self) -> nn.Module:
        from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

        model = LlavaForConditionalGeneration(
            LlavaConfig(
                vision_config=CLIPVisionConfig(
                    hidden_size=self.vision_width,
                    intermediate_size=4 * self.vision_width,
                    num_hidden_layers=self.vision_layers,
                    num_attention_heads=self.heads,
                    image_size=self.size,
                    patch_size=self.patch,
                    projection_dim=self.width,
                    initializer_range=self.std,
                ),
                text_config=LlamaConfig(
                    vocab_size=IMAGE + 1,
                    hidden_size=self.width,
                    intermediate_size=8 * self.width // 3,
                    num_hidden_layers=self.layers,
                    num_attention_heads=self.heads,
                    num_key_value_heads=self.heads,
                    max_position_embeddings=512,
                    initializer_range=self.std,
                    bos_token_id=BOS,
                    eos_token_id=EOS,
                    pad_token_id=PAD,
                ),
                image_token_index=IMAGE,
                vision_feature_layer=-1,
                vision_feature_select_strategy="default",
                initializer_range=self.std,
            )
        )
        # As large as the patches: patches of an object in two cells differ in nothing else.
        nn.init.normal_(model.model.vision_tower.embeddings.position_embedding.weight, std=0.5)
        return model

    def batch(self, step: int) -> Mapping[str, Tensor]:
        rng = generator(self.seed, step)
        prior = self.late[1] if step >= self.late[0] else self.prior
        things = [lay(rng, "train", prior) for _ in range(self.batch_size)]
        seen = step % _UNSEEN != _UNSEEN - 1
        rows = []
        alone = next((kinds for first, end, kinds in self.alone if first <= step < end), None)
        again: list[Kind] = ["relation"] * (self.related - 1)
        mixed = (*KINDS, *again) if step >= self.early else KINDS
        for row, shown in enumerate(things):
            told = alone is None and row % 2 == 0
            made = _row(self._texts(rng, shown, told, alone or mixed), self.patches if seen else 0)
            if seen:
                self._tag(rng, made, shown, step >= self.early)
            rows.append(made)
        padded = _padded(rows)
        return {**padded, "pixel_values": self._shown(things)} if seen else padded

    def loss(self, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
        given = {name: value for name, value in batch.items() if name not in ("labels", "weights")}
        labels, weights = batch["labels"][:, 1:], batch["weights"][:, 1:]
        losses = nn.functional.cross_entropy(model(**given).logits[:, :-1].mT, labels, reduction="none")
        return (losses * weights).sum() / weights.sum()

    def evaluate(self, model: Any) -> Mapping[str, float]:
        found: dict[str, float] = {}
        for kind in KINDS:
            found |= self._asked(model, kind)
        for name, scenes in (
            ("held_out_colour", Scenes("eval", self.size)),
            ("consistent", Scenes(size=self.size, prior=1.0)),
            ("contrary", Scenes(size=self.size, prior=0.0)),
        ):
            made = scenes.sample(self.evaluated, HELD_OUT, kind="colour")
            said = answers(model, made.questions, pixels(made.images), self.patches).argmax(-1)
            wrong = said != made.questions.truth["answer"]
            found[name] = 1 - _share(wrong)
        expected = [typical_colour(made.things[row][int(place)].name) for row, place in enumerate(made.asked)]
        typical = said == torch.tensor([words().index(colour) for colour in expected])
        found["hallucinated"] = _share(typical[wrong]) if bool(wrong.any()) else 0.0
        return found | self._imagined(model) | {"caption_accuracy": self._told(model)}

    def save(self, model: Any, folder: Path) -> None:
        with no_bar():
            model.save_pretrained(folder)
            processor(self.size, self.patch).save_pretrained(folder)
        (folder / SAMPLE).mkdir()
        rng = generator(HELD_OUT)
        for number in range(_SAMPLES):
            draw(lay(rng, "train"), self.size).save(folder / SAMPLE / f"{number}.png")

    @property
    def patches(self) -> int:
        """Number of patches of a picture."""
        return (self.size // self.patch) ** 2

    def _asked(self, model: Any, kind: Kind) -> dict[str, float]:
        """How well questions of a kind are answered with their pictures, without, and with empty ones."""
        made = Scenes(size=self.size).sample(self.evaluated, HELD_OUT, kind=kind)
        rows = made.kinds == KINDS.index(kind)
        questions, images = made.questions.take(rows), made.images[rows]
        empty = torch.from_numpy(np.asarray(draw([], self.size)).copy()).permute(2, 0, 1).expand_as(images) / 255
        seen = {"accuracy": pixels(images), "blind": None, "blank": pixels(empty)}
        right = questions.truth["answer"]
        return {
            f"{kind}_{name}": _share(answers(model, questions, shown, self.patches).argmax(-1) == right)
            for name, shown in seen.items()
        }

    def _imagined(self, model: Any) -> dict[str, float]:
        """Shares of Yes to whether something is there that is not, in pictures without and with typical colours."""
        rng = generator(HELD_OUT)
        found: dict[str, float] = {}
        for kind, prior in (("contrary", 0.0), ("consistent", 1.0)):
            things = [lay(rng, "train", prior) for _ in range(2 * self.evaluated)]
            seen = [shown[rng.integers(len(shown))] for shown in things]
            absent = [
                str(rng.choice([name for name in DRAWN if name not in {t.name for t in shown}])) for shown in things
            ]
            asked = {
                "other": [(one.name, _wrong(rng, one.name, one.colour)) for one in seen],
                "absent_typical": [(name, typical_colour(name)) for name in absent],
                "absent_other": [(name, _wrong(rng, name)) for name in absent],
            }
            if kind == "contrary":
                asked["typical"] = [(one.name, typical_colour(one.name)) for one in seen]
            found |= {f"{kind}_{name}_imagined": self._yes(model, things, what) for name, what in asked.items()}
        return found

    def _yes(self, model: Any, things: list[list[Thing]], asked: list[tuple[str, str]]) -> float:
        """Share of Yes to whether an object of a name and a colour is there, in pictures where it is not."""
        texts = [
            fill("Is there a {colour} {query}? {answer}.", colour=colour, query=name, answer="No")
            for name, colour in asked
        ]
        questions = to_questions([replace(text, facts={"answer": "No", "wrong": ["Yes"]}) for text in texts])
        logits = answers(model, questions, self._shown(things), self.patches)
        yes, no = (logits[:, words().index(word)] for word in ("Yes", "No"))
        return _share(yes > no)

    def _told(self, model: Any) -> float:
        """Share of the objects and colours of captions that get the highest logit, given the caption up to there."""
        rng = generator(HELD_OUT)
        things = [lay(rng, "train") for _ in range(self.evaluated)]
        given = _padded([_row([_told(shown)], self.patches) for shown in things])
        labels = given.pop("labels")[:, 1:]
        del given["weights"]
        given["pixel_values"] = self._shown(things)
        logits = model(**{name: value.to(model.device) for name, value in given.items()}).logits[:, :-1].cpu()
        named = torch.isin(labels, torch.tensor([words().index(word) for word in (*DRAWN, *COLOURS)]))
        return _share(logits.argmax(-1)[named] == labels[named])

    def _shown(self, things: list[list[Thing]]) -> Tensor:
        images = np.stack([np.asarray(draw(shown, self.size)) for shown in things])
        return pixels(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)

    def _tag(self, rng: np.random.Generator, row: "_Row", things: list[Thing], early: bool) -> None:
        """Have the places of patches, and the nouns of questions, tell of the objects: a label is of the place before it.

        From a noun up to the question mark, each word is to tell the object's row, its column or its colour, as chance has it, or
        a full stop where it is not in the picture; with `early`, half of those behind the first of two nouns tell the answer.
        """
        row.labels[2 : 1 + self.patches] = self._named(things)[:-1]
        row.weights[2 : 1 + self.patches] = [PATCH] * (self.patches - 1)
        by_name = {thing.name: thing for thing in things}
        for first, mark in row.asked:
            noun, answer = None, words()[row.ids[mark + 1]]
            for place in range(first, mark):
                word = words()[row.ids[place]]
                related = early and noun is not None and answer in ("Yes", "No")  # else the only noun is the last word
                noun = word if word in DRAWN else noun
                if noun is not None:
                    thing = by_name.get(noun)
                    told: tuple[str, ...] = (ROWS[thing.row], COLUMNS[thing.column], thing.colour) if thing else (".",)
                    told += (answer,) * len(told) if related else ()
                    row.labels[place + 1] = words().index(told[rng.integers(len(told))])
                    row.weights[place + 1] = TAG

    def _named(self, things: list[Thing]) -> list[int]:
        """The word for each patch: of an object its colour, row, name or column by quarters; a full stop where there is none."""
        grid = self.size // self.patch
        named = [[words().index(".")] * grid for _ in range(grid)]
        for row in range(grid):
            for column in range(grid):
                y, x = ((place + 0.5) * len(ROWS) / grid for place in (row, column))
                for thing in things:
                    if (thing.row, thing.column) == (int(y), int(x)):
                        told = [thing.colour, ROWS[thing.row], thing.name, COLUMNS[thing.column]]
                        named[row][column] = words().index(told[2 * int(2 * y % 2) + int(2 * x % 2)])
        return list(chain.from_iterable(named))

    def _texts(self, rng: np.random.Generator, things: list[Thing], told: bool, kinds: tuple[Kind, ...]) -> list[str]:
        """What is said about a picture: perhaps its caption, which is as long as a question for each object, and questions."""
        asked = self.texts - len(things) if told else self.texts
        questions = [question(rng, things, kinds[rng.integers(len(kinds))], "train").text for _ in range(asked)]
        return [_told(things), *questions] if told else questions


@torch.no_grad()
def answers(model: Any, questions: Batch, shown: Tensor | None, patches: int) -> Tensor:
    """Return the logits of the answers to questions of `Scenes`, [batch, vocabulary].

    `shown` are pixel values [batch, channel, row, column] of pictures with so many `patches`, None for none.
    """
    count = 0 if shown is None else patches
    places = torch.full((len(questions), count), IMAGE)
    ids = torch.cat([questions.ids[:, :1], places, questions.ids[:, 1:]], 1).to(model.device)
    given = {} if shown is None else {"pixel_values": shown.to(model.device)}
    logits = model(input_ids=ids, attention_mask=(ids != PAD).long(), **given).logits
    last = count + questions.scored.int().argmax(1) - 1
    said: Tensor = logits[torch.arange(len(ids)), last].float().cpu()
    return said


def _told(things: list[Thing]) -> str:
    """The question that asks for it, and the caption of objects in reading order, so that a picture has one."""
    return f"{_ASKED} {caption(sorted(things, key=lambda thing: (thing.row, thing.column))).text}"


@dataclass
class _Row:
    """Token ids, what is learnt at each, and with which weight; where questions begin, and where their question marks are."""

    ids: list[int]
    labels: list[int]
    weights: list[float]
    asked: list[tuple[int, int]]


def _row(texts: list[str], patches: int) -> _Row:
    """Return a row: places for a picture, then texts, learnt from behind their question mark on."""
    ids = [BOS, *[IMAGE] * patches]
    row = _Row(ids, [IGNORED] * len(ids), [0.0] * len(ids), [])
    mark, caption_asked = words().index("?"), raw_tokenizer().encode(_ASKED, add_special_tokens=False).ids
    for one in raw_tokenizer().encode_batch(texts, add_special_tokens=False):
        asked, first = one.ids.index(mark) + 1, len(row.ids)
        row.ids += [*one.ids, EOS]
        row.labels += [*[IGNORED] * asked, *one.ids[asked:], EOS]
        row.weights += [*[0.0] * asked, *[1.0] * (len(one.ids) - asked + 1)]
        if one.ids[:asked] != caption_asked:
            row.weights[-3] = ANSWER  # before the full stop and the end
            row.asked.append((first, first + asked - 1))
    return row


def _padded(rows: list[_Row]) -> dict[str, Tensor]:
    longest = max(len(row.ids) for row in rows)
    left = [longest - len(row.ids) for row in rows]
    ids = torch.tensor([row.ids + [PAD] * more for row, more in zip(rows, left, strict=True)])
    labels = torch.tensor([row.labels + [IGNORED] * more for row, more in zip(rows, left, strict=True)])
    weights = torch.tensor([row.weights + [0.0] * more for row, more in zip(rows, left, strict=True)])
    return {"input_ids": ids, "attention_mask": (ids != PAD).long(), "labels": labels, "weights": weights}


def _wrong(rng: np.random.Generator, name: str, colour: str | None = None) -> str:
    """A colour that is neither the typical one of an object nor the one that it has."""
    return str(rng.choice([other for other in COLOURS if other not in (colour, typical_colour(name))]))


def _share(right: Tensor) -> float:
    return right.float().mean().item()


RECIPE = TinyVlm()
