"""A probe of the user's own."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..core.call import Call
from ..core.reduce import Moments
from ..core.terms import Row, Term


@dataclass(frozen=True, eq=False)
class KeyFunction:
    """Mean of any functions of the attended token, [layer, head, n]: `sum_j A_ij f_jn`, averaged over queries.

    Shape of f: [key, n], by position, padding not counted; it may be longer than the texts. `name` is the key of the
    result. Raises ValueError for another shape; measuring does for a text that is longer than f.
    """

    f: Tensor
    name: str = "key_function"
    axes: ClassVar[tuple[str, ...]] = ("layer", "head", "n")

    def __post_init__(self) -> None:
        if self.f.ndim != 2:
            raise ValueError(f"f is [key, n], not {list(self.f.shape)}")

    def reducer(self) -> Moments:
        """Average over texts."""
        return Moments()

    def plan(self, call: Call) -> Generator[dict[str, Term], dict[str, Tensor], Tensor]:
        """Ask for the row functionals."""
        longest = int(call.kpos.max()) + 1
        if longest > len(self.f):
            raise ValueError(f"f has values for {len(self.f)} positions, and a text at {call.site} has {longest}")
        f = self.f.to(call.q.device, call.op.work_dtype)
        got = yield {"mean": Row(f[call.kpos.clamp_min(0)])}
        return call.mean(got["mean"])
