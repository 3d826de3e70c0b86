"""Whose turn it is: passes of one model, from whatever thread, come one after another while somebody listens."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock, get_ident

import torch
from torch import nn


class Turn:
    """Held by the thread whose pass is under way, so that what is kept from call to call is of one pass only.

    A thread that came in before the listening began, by a pass of its own, is `elsewhere`: its calls are not heard.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._open = False
        self._running: list[nn.Module] = []
        self._listener = self._holder = get_ident()

    @property
    def inside(self) -> bool:
        """True while a pass is under way."""
        return bool(self._running)

    @property
    def elsewhere(self) -> bool:
        """True in a thread whose pass began before anybody listened, and goes on as it was."""
        return get_ident() != self._holder and not recomputing()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no other thread's pass begin meanwhile; waits for the one that is under way."""
        with self._lock:
            yield

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let passes begin, until this thread ends the context."""
        self._listener = self._holder = get_ident()
        self._open = True
        try:
            yield
        finally:
            self._open = False
            self.clear()

    def enter(self, module: nn.Module) -> bool:
        """Begin a pass, or a part of one, after the passes of other threads; True if it is a whole one."""
        self._lock.acquire()
        if not self._open:  # the listening ended while this thread waited
            self._lock.release()
            return False
        if module in self._running:  # no module runs inside itself: an interrupt has ended that pass without a word
            self.clear()
        self._running.append(module)
        self._holder = get_ident()
        return len(self._running) == 1

    def leave(self, module: nn.Module) -> bool:
        """End what `enter` began; False for a module that never entered, since something stopped it before."""
        if get_ident() != self._holder or not self._running or self._running[-1] is not module:
            return False
        self._running.pop()
        if not self._running:
            self._holder = self._listener
        self._lock.release()
        return True

    def clear(self) -> None:
        """Forget what has entered, and let others have their turn."""
        with self._lock:
            while self._running:
                self._running.pop()
                self._lock.release()
            self._holder = self._listener


def recomputing() -> bool:
    """Say whether a backward pass is under way, where gradient checkpointing runs parts of the forward pass again."""
    return torch._C._current_graph_task_id() != -1
