"""The tiers of torch functions: attention calls that a function mode sees, whoever makes them.

A function mode sees every torch call, at a price. So the modules that attend are found in their first pass, and from then on
the mode is entered only around each of them, and around modules that have not run yet.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from . import mha, sdpa, softmax
from .hook import Hook
from .reading import Reader

if TYPE_CHECKING:
    from .tap import Tap


READERS: dict[Any, Reader] = {**sdpa.READERS, **mha.READERS, **softmax.READERS}


@dataclass
class _Frame:
    """A module that is running; `heard` once a call of its own that hands over q, k and v was heard."""

    module: nn.Module
    heard: bool = False


class Functions:
    """Taps all modules of a model that call one of torch's attention functions themselves."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._found: set[nn.Module] = set()
        self._idle: set[nn.Module] = set()
        self._stack: list[_Frame] = []
        self._handles: dict[nn.Module, list[RemovableHandle]] = {}
        self._mode: _Mode | None = None

    @contextmanager
    def listening(self, tap: "Tap") -> Iterator[None]:
        """Intercept the model's calls of attention functions."""
        mode = self._mode = _Mode(self, tap)
        try:
            for module in self._model.modules():
                # A softmax module is not what attends: the module that it is a part of does.
                if module not in self._idle and not softmax.is_softmax(module):
                    self._watch(module, tap, mode)
            with mha.slow_path(self._model) as slowed:
                if slowed:
                    tap.note(mha.NOTE)
                yield
        finally:
            for handles in self._handles.values():
                for handle in handles:
                    handle.remove()
            self._handles.clear()
            self.restart()
            self._mode = None

    def restart(self) -> None:
        """Forget modules that an interrupt kept from ending."""
        self._stack.clear()
        if self._mode is not None:
            self._mode.leave_all()

    def call(self, tap: "Tap", func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Handle one call: hand it to the tap if it is an attention, and return its result."""
        reader = READERS.get(func)
        frame = self._stack[-1] if self._stack else None
        if reader is None or frame is None or (frame.heard and func in softmax.READERS):
            return func(*args, **kwargs)
        module = frame.module
        reading = reader(module, args, kwargs)
        if reading is None:
            if func in softmax.READERS and softmax.attends(module):
                tap.note(softmax.passed_over(module))
            return func(*args, **kwargs)
        frame.heard |= func not in softmax.READERS
        self._found.add(module)
        kept: list[Any] = []

        def host() -> Tensor:
            if not kept:
                kept.append(func(*args, **kwargs))
            return reading.output(kept[0])

        output = tap.attend(module, reading.op, host, reading.tier, reading.gives, None)
        if output is None:
            host()
            return kept[0]
        return reading.result(output)

    def _watch(self, module: nn.Module, tap: "Tap", mode: "_Mode") -> None:
        def enter(module: nn.Module, args: Any) -> None:
            if tap.elsewhere:
                return
            self._stack.append(_Frame(module))
            mode.enter()

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            if not self._stack or self._stack[-1].module is not module or tap.elsewhere:
                return  # it never entered
            mode.leave()
            self._stack.pop()
            # A module that looks like attention may have been given nothing to attend to, this once.
            # And one that fails gives None: torch is then on its way through the hooks that would be removed here.
            if output is not None and module not in self._found and not softmax.attends(module):
                self._idle.add(module)
                for handle in self._handles.pop(module, []):
                    handle.remove()

        self._handles[module] = [
            module.register_forward_pre_hook(Hook(enter)),
            module.register_forward_hook(Hook(leave), always_call=True),
        ]


class _Mode(TorchFunctionMode):
    """Sees torch calls between `enter` and `leave`, which nest."""

    def __init__(self, functions: Functions, tap: "Tap") -> None:
        super().__init__()
        self._functions = functions
        self._tap = tap
        self._depth = 0

    def enter(self) -> None:
        if self._depth == 0:
            self.__enter__()
        self._depth += 1

    def leave(self) -> None:
        if self._depth == 0:
            return
        self._depth -= 1
        if self._depth == 0:
            self.__exit__(None, None, None)

    def leave_all(self) -> None:
        while self._depth:
            self.leave()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._tap.muted:
            return func(*args, **kwargs)
        return self._functions.call(self._tap, func, args, kwargs)
