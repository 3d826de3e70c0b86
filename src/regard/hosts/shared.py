"""What is changed for the whole process while anybody listens: by the first listener, and put back after the last."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock


class Shared:
    """A change of the process that several may want at once; `change` makes it and returns what takes it back."""

    def __init__(self, change: Callable[[], Callable[[], None]]) -> None:
        self._change = change
        self._lock = Lock()
        self._users = 0

    @contextmanager
    def wanted(self) -> Iterator[None]:
        """Keep the change made while the context lasts."""
        with self._lock:
            if self._users == 0:
                self._undo = self._change()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._undo()
