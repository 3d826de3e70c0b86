"""Known answers: what papers report of the attention of models that people have, asked of the model at hand.

The facts are data, in `known.json`: which model, told by its configuration, which probe, what is expected, and the source.
A probe is a module of `probes` with a function `measure(lens, fact) -> Measured`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.resources import files
from typing import Any

from torch import nn

from ..lens import Lens
from . import probes
from .finding import Verdict

SCHEMA = "regard.doctor.known/1"


@dataclass(frozen=True)
class Fact:
    """What a source reports of a model.

    `config` are values of the model's configuration, or of that of its language model, that tell the model from others; a list
    is one of several. `expected` is as the probe takes it, and `within` how far a number may be from it.
    """

    name: str
    model: str
    config: dict[str, Any]
    probe: str
    expected: Any
    source: str
    within: float | None = None


@dataclass(frozen=True)
class Measured:
    """What a probe found, in words, and whether it is what was expected."""

    right: bool
    expected: str
    found: str


@dataclass(frozen=True)
class Answer:
    """One fact beside what was measured."""

    name: str
    model: str
    verdict: Verdict
    expected: str
    measured: str
    source: str


def facts() -> list[Fact]:
    """Read the facts that come with the library."""
    return [Fact(**one) for one in json.loads(files(__package__).joinpath("known.json").read_text(encoding="utf-8"))]


def about(model: nn.Module, known: Sequence[Fact] | None = None) -> list[Fact]:
    """Return the facts that a model's configuration fits."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config

    def fits(name: str, wanted: Any) -> bool:
        choice = wanted if isinstance(wanted, list) else [wanted]
        return any(getattr(one, name, None) in choice for one in (config, text))

    every = facts() if known is None else known
    return [fact for fact in every if all(fits(name, value) for name, value in fact.config.items())]


def ask(lens: Lens, known: Sequence[Fact] | None = None, progress: Callable[[int], None] | None = None) -> list[Answer]:
    """Measure every fact that the model's configuration fits; by default those that come with the library.

    Configurations do not tell a model from what was trained further from it: a fact that fails there may be true of the model
    that its source names. `progress` is told how many facts are done.
    """
    answers = []
    for done, fact in enumerate(about(lens.model, known), 1):
        probe = import_module(f"{probes.__name__}.{fact.probe}")
        try:
            got = probe.measure(lens, fact)
        except ValueError as error:
            got = Measured(False, str(fact.expected), f"could not be measured: {error}")
        verdict: Verdict = "ok" if got.right else "failed"
        answers.append(Answer(fact.name, fact.model, verdict, got.expected, got.found, fact.source))
        if progress is not None:
            progress(done)
    return answers


def to_json(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return answers as JSON values, with their schema."""
    ok = all(answer.verdict == "ok" for answer in answers)
    return {"schema": SCHEMA, "ok": ok, "answers": [asdict(answer) for answer in answers]}
