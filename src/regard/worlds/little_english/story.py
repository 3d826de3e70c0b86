"""Short stories in which things are carried about, and what is true at their end."""

from dataclasses import dataclass, field

import numpy as np

from .held_out import Split, colours_of, companions_of
from .lexicon import DAYS, FEELINGS, NAMES, OBJECTS, PLACES, SIZES, pronoun
from .text import Text, fill


@dataclass
class State:
    """Where people are, who has which object (None: it lies in a place), and how objects look."""

    place: dict[str, str]
    holder: dict[str, str | None] = field(default_factory=dict)
    lies: dict[str, str] = field(default_factory=dict)
    colour: dict[str, str] = field(default_factory=dict)
    size: dict[str, str] = field(default_factory=dict)
    subject: str | None = None

    def where(self, thing: str) -> str:
        """Return the place that an object is in."""
        holder = self.holder[thing]
        return self.lies[thing] if holder is None else self.place[holder]

    def name(self, person: str) -> str:
        """Return how a sentence begins that is about somebody: by a pronoun if the last one was, too."""
        again = person == self.subject
        self.subject = person
        return pronoun(person) if again else person


def tell(rng: np.random.Generator, split: Split) -> tuple[Text, State]:
    """Tell a story of one or two people and two objects; return it with the state at its end."""
    people = [str(rng.choice(NAMES))]
    if rng.random() < 0.7:
        people.append(str(rng.choice(companions_of(people[0], split))))
    things = [str(x) for x in rng.choice(OBJECTS, 2, replace=False)]
    here = str(rng.choice(PLACES))
    state = State(dict.fromkeys(people, here))
    for thing in things:
        state.colour[thing], state.size[thing] = str(rng.choice(colours_of(thing, split))), str(rng.choice(SIZES))
    day = str(rng.choice(DAYS))
    if len(people) == 2:
        story = fill(
            "On {day}, {first} and {second} were in the {place}.",
            day=day,
            first=people[0],
            second=people[1],
            place=here,
        )
    else:
        story = fill("On {day}, {first} was in the {place}.", day=day, first=people[0], place=here)
        state.subject = people[0]
    for thing in things:
        story += _introduce(rng, state, thing, people, here)
    for _ in range(rng.integers(2, 6)):
        story += _happen(rng, state, people, things)
    return story, state


def _look(state: State, thing: str) -> dict[str, str]:
    return {"size": state.size[thing], "colour": state.colour[thing], "object": thing}


def _introduce(rng: np.random.Generator, state: State, thing: str, people: list[str], here: str) -> Text:
    if rng.random() < 0.6:
        person = str(rng.choice(people))
        state.holder[thing] = person
        return fill("{subject} had a {size} {colour} {object}.", subject=state.name(person), **_look(state, thing))
    state.holder[thing], state.lies[thing], state.subject = None, here, None
    return fill("There was a {size} {colour} {object} in the {place}.", place=here, **_look(state, thing))


def _happen(rng: np.random.Generator, state: State, people: list[str], things: list[str]) -> Text:
    """Return one event, of those that are possible, and let it happen."""
    person, thing = str(rng.choice(people)), str(rng.choice(things))
    here, holder = state.place[person], state.holder[thing]
    near = [other for other in people if other != person and state.place[other] == here]
    possible = ["move", "feel"]
    if holder == person:
        possible += ["put", "look"] + ["give"] * 3 * bool(near)
    elif holder is None and state.lies[thing] == here:
        possible += ["take"] * 3 + ["look"]
    event = str(rng.choice(possible))
    subject = state.name(person)
    match event:
        case "move":
            goal = str(rng.choice([place for place in PLACES if place != here]))
            state.place[person] = goal
            verb = str(rng.choice(["went", "walked", "ran"]))
            return fill("{subject} {verb} to the {place}.", subject=subject, verb=verb, place=goal)
        case "feel":
            return fill("{subject} was {feeling}.", subject=subject, feeling=str(rng.choice(FEELINGS)))
        case "look":
            return fill("{subject} looked at the {colour} {object}.", subject=subject, **_look(state, thing))
        case "put":
            state.holder[thing], state.lies[thing] = None, here
            return fill("{subject} left the {object} in the {place}.", subject=subject, object=thing, place=here)
        case "take":
            state.holder[thing] = person
            verb = str(rng.choice(["took", "found"]))
            return fill("{subject} {verb} the {colour} {object}.", subject=subject, verb=verb, **_look(state, thing))
        case _:
            other = str(rng.choice(near))
            state.holder[thing] = other
            verb = str(rng.choice(["gave", "handed", "passed"]))
            return fill(
                "{subject} {verb} the {object} to {other}.", subject=subject, verb=verb, object=thing, other=other
            )
