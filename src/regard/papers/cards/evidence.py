"""What a check finds: rows of numbers, and the numbers of figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Deviation:
    """How far a method is from the dense oracle or a closed form in one case, to be compared with the claim's tolerance."""

    claim: str
    case: str
    value: float


@dataclass(frozen=True)
class Measured:
    """The claim's metric in one run: on which model and data, from which seed, and for the controls of the same run.

    `model` is the bench model, or the name of the model that a user gave. `data` is empty for the bench model's own data.
    """

    claim: str
    model: str
    seed: int
    value: float
    controls: Mapping[str, float] = field(default_factory=dict)
    data: str = ""


@dataclass(frozen=True)
class Figure:
    """The numbers of a figure, written as a CSV file of this name beside the results."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | int]]


Evidence = Deviation | Measured | Figure
