"""Effects on head outputs, before they meet in the output projection."""

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from torch import Tensor

from .effect import Effect, Stage, cut


@dataclass(frozen=True, eq=False)
class OutputEffect(Effect):
    """A change of head outputs."""

    stage: ClassVar[Stage] = "outputs"

    def on_output(self, out: Tensor) -> Tensor:
        """Change outputs [batch, head, query, value_dim]."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Out(OutputEffect):
    """Scale head outputs, or replace them by given ones, or add to them: `scale * (value or out) + add`.

    Shapes: scale a number or [batch or 1, head or 1, query or 1, 1]; value and add broadcastable to [batch, head,
    query, value_dim] in all four axes.
    """

    scale: Tensor | float = 1.0
    value: Tensor | None = None
    add: Tensor | None = None

    def select(self, heads: Tensor | None, queries: slice, of: int) -> Self:
        return replace(
            super().select(heads, queries, of),
            scale=cut(self.scale, heads, queries) if isinstance(self.scale, Tensor) else self.scale,
            value=None if self.value is None else cut(self.value, heads, queries),
            add=None if self.add is None else cut(self.add, heads, queries),
        )

    def on_output(self, out: Tensor) -> Tensor:
        scale = self.scale.to(out.dtype) if isinstance(self.scale, Tensor) else self.scale
        new = (out if self.value is None else self.value.to(out.dtype).expand_as(out)) * scale
        return self.limit(new if self.add is None else new + self.add.to(out.dtype), out)


@dataclass(frozen=True, eq=False)
class Output(OutputEffect):
    """An output that the method has computed, as from several `Attend` merged.

    Shapes: out [batch, head, query, value_dim], lse [batch, head, query]. There are no weights behind it: of what comes
    after, only outputs can change and only `Lse` (if it is given) and `Attend` can be asked.
    """

    out: Tensor
    lse: Tensor | None = None

    def select(self, heads: Tensor | None, queries: slice, of: int) -> Self:
        lse = None if self.lse is None else cut(self.lse, heads, queries)
        return replace(super().select(heads, queries, of), out=cut(self.out, heads, queries), lse=lse)

    def on_output(self, out: Tensor) -> Tensor:
        return self.limit(self.out.to(out.dtype), out)

    def on_lse(self, lse: Tensor) -> Tensor:
        """Return the log-sum-exp [batch, head, query] of the output; raises ValueError if the method gave none."""
        if self.lse is None:
            raise ValueError("the method that computed this output gave no log-sum-exp of it")
        return self.limit(self.lse[..., None].to(lse.dtype), lse[..., None])[..., 0]
