"""Hooks that are set while somebody listens."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from .refuse import Refusal


@dataclass(frozen=True, eq=False)
class Hook:
    """A hook on a module; a copy of the module would keep it for good, so a module that has one is not copied."""

    call: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)

    def __deepcopy__(self, memo: object) -> NoReturn:
        self._refuse()

    def __reduce__(self) -> NoReturn:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise Refusal(
            "a lens listens to this model, and a copy would stay changed: copy or pickle it after the lens's context ends, or "
            "save its state_dict"
        )
