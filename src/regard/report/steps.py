"""How far a scan is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..core.call import Site

Progress = Callable[[int, int], None]


@dataclass
class Steps:
    """Counts uses of attention, each by the tokens that it is about, so that one long text moves on layer by layer.

    `total` is over all stages. `tokens` are those of the inputs that run now.
    """

    model: nn.Module
    sites: Sequence[Site]
    progress: Progress | None
    total: int
    tokens: int = 0
    _before: int = 0
    _done: int = 0

    @contextmanager
    def stage(self, tokens: int) -> Iterator[None]:
        """Count while the model runs once over so many tokens; at the end they are done, whatever was counted."""
        with ExitStack() as stack:
            for path in {site.path for site in self.sites}:
                stack.callback(self.model.get_submodule(path).register_forward_hook(self._one).remove)
            yield
        self._before += tokens * len(self.sites)
        self._done = 0
        self._tell()

    def _one(self, *_: Any) -> None:
        self._done += self.tokens
        self._tell()

    def _tell(self) -> None:
        if self.progress is not None:
            self.progress(min(self._before + self._done, self.total), self.total)
