"""Texts with one word in them that is an answer, and the wrong ones."""

from collections.abc import Callable

import numpy as np

from .held_out import Split, colours_of, companions_of
from .layout import KINDS, caption, lay, question
from .lexicon import COLOURS, FURNITURE, LABELS, NAMES, OBJECTS, PLACES
from .story import tell
from .text import Text, fill

_TOGETHER = (
    "When {first} and {second} went to the {place}, {s2} {verb} a {object} to {answer}.",
    "While {first} and {second} were in the {place}, {s2} {verb} a {object} to {answer}.",
    "After {first} and {second} came to the {place}, {s2} {verb} the {object} to {answer}.",
    "Then {first} and {second} walked to the {place}, and {s2} {verb} the {object} to {answer}.",
    "{first} and {second} met in the {place}. There {s2} {verb} a {object} to {answer}.",
    "On the way to the {place}, {first} and {second} found a {object}. Later {s2} {verb} the {object} to {answer}.",
)
_GIVE = ("gave", "handed", "passed", "brought", "showed")


def indirect_object(rng: np.random.Generator, split: Split) -> Text:
    """Two people, of whom one (`s1`, `s2`) gives something: the answer is the other (`io`)."""
    giver = str(rng.choice(NAMES))
    receiver = str(rng.choice(companions_of(giver, split)))
    first, second = ("s1", "io") if rng.random() < 0.5 else ("io", "s1")
    template = (
        _TOGETHER[rng.integers(len(_TOGETHER))].replace("{first}", f"{{{first}}}").replace("{second}", f"{{{second}}}")
    )
    words = {"place": str(rng.choice(PLACES)), "object": str(rng.choice(OBJECTS)), "verb": str(rng.choice(_GIVE))}
    text = fill(template, s1=giver, s2=giver, io=receiver, answer=receiver, **words)
    return _with(text, answer=receiver, wrong=[giver], pairs=[(giver, receiver)])


def coloured_objects(rng: np.random.Generator, split: Split) -> Text:
    """Three objects of three colours: the answer is the colour of the one asked for."""
    things, colours, shown = _show(rng, split)
    asked = int(rng.integers(3))
    words = {"query": things[asked], "again": things[asked], "answer": colours[asked]}
    text = shown + fill("What colour is the {query}? The {again} is {answer}.", **words)
    wrong = [colour for colour in colours if colour != colours[asked]]
    return _with(text, answer=colours[asked], wrong=wrong, pairs=list(zip(things, colours, strict=True)))


def choice(rng: np.random.Generator, split: Split) -> Text:
    """A question on what was shown or told, and three options: the answer is the label of the right one."""
    if rng.random() < 0.5:
        text, options, pairs = _choose_colour(rng, split)
    else:
        text, options, pairs = _choose_place(rng, split)
    order = rng.permutation(len(options))
    for label, place in zip(LABELS, order, strict=True):
        text += fill(f"{label}: {{option{label}}}.", **{f"option{label}": options[place]})
    right = LABELS[int(np.argmin(order))]
    text += fill("Answer: {answer}.", answer=right)
    return _with(text, answer=right, wrong=[label for label in LABELS if label != right], pairs=pairs)


def story(rng: np.random.Generator, split: Split) -> Text:
    """A story, then where one of its objects is, who has it, or what colour it is."""
    text, state = tell(rng, split)
    thing = str(rng.choice(list(state.holder)))
    holder, people = state.holder[thing], list(state.place)
    kinds = ["where", "colour"] + ["who"] * (holder is not None and len(people) == 2)
    match str(rng.choice(kinds)):
        case "who" if holder is not None:
            answer, options, asking = holder, people, "Who has the {query}? It is {answer}."
        case "colour":
            answer, options, asking = (
                state.colour[thing],
                [*state.colour.values(), *COLOURS],
                "What colour is the {query}? It is {answer}.",
            )
        case _:
            told = [text.text[first:last] for role, first, last in text.spans if role == "place"]
            answer, options, asking = (
                state.where(thing),
                [*told, *PLACES],
                "Where is the {query}? It is in the {answer}.",
            )
    wrong = next(option for option in options if option != answer)
    text += fill(asking, query=thing, answer=answer)
    pairs = [*state.colour.items(), *([(people[0], people[1])] if len(people) == 2 else [])]
    return _with(text, answer=answer, wrong=[wrong], pairs=pairs)


def layout(rng: np.random.Generator, split: Split) -> Text:
    """Objects on a grid, told in words, and a question on them."""
    things = lay(rng, split)
    text = caption(things) + question(rng, things, KINDS[rng.integers(len(KINDS))], split)
    return _with(text, pairs=[(thing.name, thing.colour) for thing in things])


QUESTIONS: dict[str, Callable[[np.random.Generator, Split], Text]] = {
    made.__name__: made for made in (indirect_object, coloured_objects, choice, story, layout)
}


def _choose_colour(rng: np.random.Generator, split: Split) -> tuple[Text, list[str], list[tuple[str, str]]]:
    """Return a question on three objects, and its options, the right one first."""
    things, colours, shown = _show(rng, split)
    if rng.random() < 0.5:
        text, options = shown + fill("Question: What colour is the {query}?", query=things[0]), colours
    else:
        text, options = shown + fill("Question: What is {query}?", query=colours[0]), things
    return text, options, list(zip(things, colours, strict=True))


def _choose_place(rng: np.random.Generator, split: Split) -> tuple[Text, list[str], list[tuple[str, str]]]:
    """Return a question on a story, and its options, the right one first."""
    text, state = tell(rng, split)
    thing = str(rng.choice(list(state.holder)))
    right = state.where(thing)
    places = dict.fromkeys([*state.place.values(), *rng.permutation(PLACES).tolist()])
    options = [right, *[place for place in places if place != right][:2]]
    people = list(state.place)
    pairs = [*state.colour.items(), *([(people[0], people[1])] if len(people) == 2 else [])]
    return text + fill("Question: Where is the {query}?", query=thing), options, pairs


def _show(rng: np.random.Generator, split: Split) -> tuple[list[str], list[str], Text]:
    """Return three objects in random order, their three colours, and a sentence that shows them in another order."""
    while True:
        things = [str(thing) for thing in rng.choice(OBJECTS, 3, replace=False)]
        colours = [str(rng.choice(colours_of(thing, split))) for thing in things]
        if len(set(colours)) == 3:
            break
    words = {"place": str(rng.choice(FURNITURE))}
    for number, place in enumerate(rng.permutation(3)):
        words |= {f"object{number}": things[place], f"colour{number}": colours[place]}
    seen = str(rng.choice(["there is", "I see", "you see"]))
    template = (
        f"On the {{place}}, {seen} a {{colour0}} {{object0}}, a {{colour1}} {{object1}}, and a {{colour2}} {{object2}}."
    )
    return things, colours, fill(template, **words)


def _with(text: Text, **facts: object) -> Text:
    return Text(text.text, text.spans, text.facts | facts)
