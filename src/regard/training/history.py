"""What a training run recorded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas

Value = float | int | None
Ended = Literal["steps", "target"]
EVALUATION = "eval_"
"""What the columns of an evaluation begin with."""


@dataclass
class History:
    """The table of a training run, and why it ended.

    Each row has the `step`, counted in steps done, the mean `loss` since the row before, the largest norm of the
    gradient before clipping, `grad_norm`, the learning rate `lr` of the last step, and the `seconds` of training since
    the beginning, without pauses between a kill and a resume. Where the model was evaluated, a row has also what this
    gave, each name with `eval_` before it; None is a number that was not finite. `ended` is None while the run goes on.
    """

    rows: list[dict[str, Value]] = field(default_factory=list)
    ended: Ended | None = None

    @property
    def steps(self) -> int:
        """The steps done."""
        return int(self.rows[-1]["step"] or 0) if self.rows else 0

    @property
    def seconds(self) -> float:
        """The seconds of training, evaluations and checkpoints included."""
        return float(self.rows[-1]["seconds"] or 0) if self.rows else 0.0

    @property
    def evaluation(self) -> dict[str, Value]:
        """What the last evaluation gave, empty if there was none."""
        for row in reversed(self.rows):
            found = {name.removeprefix(EVALUATION): row[name] for name in row if name.startswith(EVALUATION)}
            if found:
                return found
        return {}

    def column(self, name: str) -> list[Value]:
        """Return one column, with the rows that have it only."""
        return [row[name] for row in self.rows if name in row]

    def to_pandas(self) -> "pandas.DataFrame":
        """Return the table as a data frame.

        Raises ImportError where pandas is missing.
        """
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise ImportError('this table needs pandas: pip install "regard[tables]"') from error
        return pandas.DataFrame(self.rows)


def reached(evaluation: dict[str, Value], target: Sequence[tuple[str, float]]) -> bool:
    """Whether an evaluation has a target, and is at it or above in every metric that it names."""
    values = [(evaluation[name], least) for name, least in target]
    return bool(values) and all(value is not None and value >= least for value, least in values)
