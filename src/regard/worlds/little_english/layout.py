"""Objects on a grid of three rows and three columns, told in words, and fine-grained questions on them."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .held_out import ONE_IN, Split, colours_of
from .lexicon import COLOURS, COLUMNS, DRAWN, NUMBERS, ROWS, SIZES
from .text import Text, fill

Kind = Literal["existence", "colour", "number", "position", "relation"]
KINDS: tuple[Kind, ...] = ("existence", "colour", "number", "position", "relation")


@dataclass(frozen=True)
class Thing:
    """An object of a layout; rows count from the top, columns from the left."""

    name: str
    colour: str
    size: str
    row: int
    column: int


def typical_colour(thing: str) -> str:
    """Return the colour that a drawn object has most often where there is a prior: another one for each object."""
    number = DRAWN.index(thing)
    return COLOURS[
        (1 - number) % ONE_IN + ONE_IN * (number // ONE_IN)
    ]  # not 0 modulo ONE_IN with the number, so never held out


def lay(rng: np.random.Generator, split: Split, prior: float | None = None) -> list[Thing]:
    """Return one to four different objects in different cells.

    With the probability `prior`, an object has its typical colour, and otherwise any other one of the split; None draws evenly
    from those of the split.
    """
    count = int(rng.integers(1, 5))
    names = [str(name) for name in rng.choice(DRAWN, count, replace=False)]
    cells = rng.choice(len(ROWS) * len(COLUMNS), count, replace=False)
    things = []
    for name, cell in zip(names, cells, strict=True):
        colours = colours_of(name, split)
        if prior is not None:
            typical = typical_colour(name)
            colours = (typical,) if rng.random() < prior else tuple(c for c in colours if c != typical)
        row, column = divmod(int(cell), len(COLUMNS))
        things.append(Thing(name, str(rng.choice(colours)), str(rng.choice(SIZES)), row, column))
    return things


def caption(things: list[Thing]) -> Text:
    """Tell where each object is, one sentence each."""
    said = [
        fill(
            "There is a {size} {colour} {object} at the {row} {column}.",
            size=thing.size,
            colour=thing.colour,
            object=thing.name,
            row=ROWS[thing.row],
            column=COLUMNS[thing.column],
        )
        for thing in things
    ]
    text = said[0]
    for more in said[1:]:
        text += more
    return text


def question(rng: np.random.Generator, things: list[Thing], kind: Kind, split: Split) -> Text:
    """Ask one question; `relation` needs two objects that differ in row or column, and is of existence where there are none."""
    asked = things[rng.integers(len(things))]
    match kind:
        case "colour":
            text = fill("What colour is the {query}? It is {answer}.", query=asked.name, answer=asked.colour)
            shown = dict.fromkeys(thing.colour for thing in things if thing.colour != asked.colour)
            return _with(text, kind, list(shown) or [next(c for c in COLOURS if c != asked.colour)])
        case "number":
            text = fill("How many objects are there? {answer}.", answer=NUMBERS[len(things)])
            if rng.random() < 0.5:
                colour = str(rng.choice([asked.colour, *COLOURS]))
                number = NUMBERS[sum(thing.colour == colour for thing in things)]
                text = fill("How many {query} objects are there? {answer}.", query=colour, answer=number)
            return _with(text, kind, [number for number in NUMBERS if number != _answer(text)])
        case "position":
            if rng.random() < 0.5:
                text = fill(
                    "Is the {query} at the top, middle or bottom? At the {answer}.",
                    query=asked.name,
                    answer=ROWS[asked.row],
                )
                return _with(text, kind, [row for row in ROWS if row != ROWS[asked.row]])
            column = COLUMNS[asked.column]
            text = fill(
                "Is the {query} at the left, centre or right? At the {answer}.", query=asked.name, answer=column
            )
            return _with(text, kind, [other for other in COLUMNS if other != column])
        case "relation" if pairs := _related(things):
            first, second, relation, opposite = pairs[rng.integers(len(pairs))]
            true = rng.random() < 0.5
            text = fill(
                "Is the {query} {relation} the {other}? {answer}.",
                query=first.name,
                relation=relation if true else opposite,
                other=second.name,
                answer="Yes" if true else "No",
            )
            return _with(text, kind, ["No" if true else "Yes"])
        case _:
            return _exists(rng, things, asked, split)


def _exists(rng: np.random.Generator, things: list[Thing], asked: Thing, split: Split) -> Text:
    """Ask for an object that is there, or for a shown one in another colour, or for one that is not shown."""
    true = rng.random() < 0.5
    name, colour = asked.name, asked.colour
    if not true:
        if rng.random() < 0.5:
            name = str(rng.choice([other for other in DRAWN if other not in {thing.name for thing in things}]))
            colour = str(rng.choice(colours_of(name, split)))
        else:
            colour = str(rng.choice([other for other in colours_of(name, split) if other != colour]))
    text = fill("Is there a {colour} {query}? {answer}.", colour=colour, query=name, answer="Yes" if true else "No")
    return _with(text, "existence", ["No" if true else "Yes"])


def _related(things: list[Thing]) -> list[tuple[Thing, Thing, str, str]]:
    """Return pairs of objects with what the first is to the second, and its opposite."""
    pairs = []
    for first in things:
        for second in things:
            if first.row < second.row:
                pairs.append((first, second, "above", "below"))
            if first.row > second.row:
                pairs.append((first, second, "below", "above"))
            if first.column < second.column:
                pairs.append((first, second, "left of", "right of"))
            if first.column > second.column:
                pairs.append((first, second, "right of", "left of"))
    return pairs


def _answer(text: Text) -> str:
    return next(text.text[first:last] for role, first, last in text.spans if role == "answer")


def _with(text: Text, kind: Kind, wrong: list[str]) -> Text:
    return Text(text.text, text.spans, {"kind": kind, "answer": _answer(text), "wrong": wrong})
