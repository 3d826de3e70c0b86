"""One tap on a model: whatever tier an attention call comes by, it becomes a `Call` with its site, its positions and its run."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from itertools import zip_longest
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..core.call import Call, Site
from ..core.operands import Operands
from ..core.session import Session
from .blocks import block_of
from .functions import Functions
from .hook import Hook
from .interface import Interface
from .names import Name, Names
from .parallel import Share
from .refuse import alone, changed
from .runs import Begin, Runs
from .stance import NOTE, compiled, uncompiled
from .turn import recomputing

if TYPE_CHECKING:
    from .recipe import Recipe

_ATTENTION = re.compile("attention|attn")
DESIGN = "attention_design"
"""Attribute of an attention module whose implementation is no softmax of scores: its `edits` say what it is instead."""
Handler = Callable[[Call], Tensor | None]
"""Gets each call; returns its output [batch, head, query, value_dim], or None to let the host's own stand."""


class Tap:
    """Listens to the attention calls of a model, in every tier at once."""

    def __init__(self, model: nn.Module, handler: Handler, begin: Begin = lambda session, arguments: None) -> None:
        self._model = model
        self._handler = handler
        self.notes: list[str] = []
        self.runs = Runs(model, self._begun(begin))
        self._know()
        self._listening = 0
        self._open = ExitStack()
        self._muted = False
        self._uses: dict[nn.Module, int] = {}
        self._shares: dict[nn.Module, Share | None] = {}
        self._followed: dict[nn.Module, RemovableHandle] = {}
        self._begun_blocks: dict[nn.Module, RemovableHandle] = {}
        self._inputs: WeakKeyDictionary[nn.Module, ref[Tensor]] = WeakKeyDictionary()

    @property
    def muted(self) -> bool:
        """True while calls are not to be heard: those that a handler or a host's own kernel makes."""
        return self._muted

    @property
    def elsewhere(self) -> bool:
        """True in a thread whose pass began before anybody listened, and goes on as it was."""
        return self.runs.turn.elsewhere

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the model's attention calls; contexts may overlap in any order, the last one that ends takes the tap off.

        It begins and ends between passes: those of other threads are waited for.
        """
        with self.runs.turn.held():
            if self._listening == 0:
                self._open = self._opened()
            self._listening += 1
        try:
            yield
            if (strange := self._strange()) is not None:
                raise changed(strange)
        finally:
            with self.runs.turn.held():
                self._listening -= 1
                if self._listening == 0:
                    self._open.close()

    @contextmanager
    def mute(self) -> Iterator[None]:
        """Hear nothing for a while."""
        before, self._muted = self._muted, True
        try:
            yield
        finally:
            self._muted = before

    def note(self, note: str) -> None:
        """Keep a sentence about how this model is reached that its user should know, once."""
        if note not in self.notes:
            self.notes.append(note)

    def path(self, module: nn.Module) -> str:
        """Return a module's name in the model."""
        return self._name(module).path

    def attend(
        self,
        module: nn.Module,
        op: Operands,
        host: Callable[[], Tensor],
        tier: str,
        gives: frozenset[str],
        recipe: "Recipe | None",
    ) -> Tensor | None:
        """Hand an attention call to the handler; return its output, or None where the host's own stands."""
        if not self.runs.turn.inside and not recomputing():
            self.runs.alone()
        kind = op.q.device.type
        lowered = torch.is_autocast_enabled(kind)
        if (
            lowered and tier != "softmax"
        ):  # what the host's kernel is given; scores that are written out are rounded already
            dtype = torch.get_autocast_dtype(kind)
            op = replace(op, q=op.q.to(dtype), k=op.k.to(dtype), v=op.v.to(dtype))
        if module not in self._shares:
            self._shares[module] = Share.of(module)
        share = self._shares[module]
        if share is not None and share.divides(module, op, tier):
            with self.mute():
                op, host = share.whole(op), share.host(host)
        else:
            share = None
        if lowered:
            host = _as_now(host, kind)
        session = self.runs.session
        site = self._site(module, op, tier, gives, recipe)
        q_index, k_index, keys = _place(site, op, recipe, session)
        at_k = positions(keys, op.k_len, k_index, op)
        if site.role == "cross":
            at_q = positions(_fitting(session.valid, op, q_index + op.q_len), op.q_len, q_index, op)
        else:
            at_q = positions(keys, op.q_len, q_index, op)
            at_k = at_k.masked_fill(torch.arange(op.k_len, device=at_k.device) + k_index >= q_index + op.q_len, -1)
        design = getattr(module, DESIGN, None)
        edits = () if design is None else tuple(design.edits)
        call = Call(
            site,
            op,
            at_q,
            at_k,
            q_index,
            k_index,
            session,
            host,
            lambda: self._input(module),
            lambda: self._residual(module),
            design=edits,
        )
        with self.mute(), torch.autocast(kind, enabled=False) if lowered else nullcontext():
            output = self._handler(call)
            return output if output is None or share is None else share.own(output)

    def _know(self) -> None:
        """Learn what modules the model has; between contexts, some may be replaced by others."""
        self._modules = list(self._model.modules())
        self._names = Names(self._model)
        self._interface, self._functions = Interface(self._model), Functions(self._model)
        self._candidates = [m for m in self._modules if _ATTENTION.search(type(m).__name__.lower())]
        self._sites: dict[tuple[nn.Module, int], Site] = {}

    def _strange(self) -> nn.Module | None:
        """Return a module that came into the model, or left it, since its modules were learnt."""
        pairs = zip_longest(self._model.modules(), self._modules)
        return next((a if a is not None else b for a, b in pairs if a is not b), None)

    def _opened(self) -> ExitStack:
        if self._strange() is not None:
            self._know()
        with ExitStack() as stack:
            stack.enter_context(alone(self._model))
            stack.enter_context(uncompiled())
            if compiled(self._model):
                self.note(NOTE)
            stack.callback(self._stop)
            stack.enter_context(self.runs.listening())
            for module in self._candidates:
                self._follow(module)
            stack.enter_context(self._interface.listening(self))
            stack.enter_context(self._functions.listening(self))
            stack.enter_context(self.runs.leaving())
            return stack.pop_all()

    def _name(self, module: nn.Module) -> Name:
        if module not in self._names:
            raise changed(module)
        return self._names[module]

    def _begun(self, begin: Begin) -> Begin:
        def start(session: Session, arguments: Mapping[str, Any]) -> None:
            self._uses.clear()
            if self.runs.turn.inside:
                self._functions.restart()
                self._interface.check()
            begin(session, arguments)

        return start

    def _site(self, module: nn.Module, op: Operands, tier: str, gives: frozenset[str], recipe: "Recipe | None") -> Site:
        if module not in self._uses:
            self._uses[module] = 0
            self._follow(module)
        key = (module, self._uses[module])
        if key not in self._sites:
            name = self._name(module)
            uneven = recipe is None and op.q_len != op.k_len and not self.runs.cached
            told = name.cross or getattr(module, "is_cross_attention", False) is True
            role = "cross" if told or uneven else "self"
            layer = name.layer
            taken = {site.layer for site in self._sites.values() if (site.part, site.role) == (name.part, role)}
            if layer is None or key[1] > 0 or layer in taken:
                layer = next(free for free in range(len(taken), 2 * len(taken) + 1) if free not in taken)
            self._sites[key] = Site(
                name.path,
                key[1],
                layer,
                role,
                op.heads,
                op.k.shape[1],
                tier,
                gives,
                name.part,
                self._names.is_main(name.part),
            )
        return self._sites[key]

    def _follow(self, module: nn.Module) -> None:
        """Count the uses of a module, and remember what it is given while it runs."""
        if module not in self._followed:
            self._followed[module] = module.register_forward_pre_hook(Hook(self._used), with_kwargs=True)
            block = self._block(module)
            if block is not None and block not in self._begun_blocks:
                self._begun_blocks[block] = block.register_forward_pre_hook(Hook(self._remember), with_kwargs=True)

    def _used(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.elsewhere:
            return
        if module in self._uses and not recomputing():
            self._uses[module] += 1
        self._remember(module, args, kwargs)

    def _remember(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = next((value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)), None)
        if given is not None and not self.elsewhere:
            self._inputs[module] = ref(given)  # alive as long as the module's caller holds it

    def _input(self, module: nn.Module) -> Tensor:
        held = self._inputs.get(module)
        given = held() if held is not None else None
        if given is None:
            raise ValueError(f"the input of {self.path(module)} is not at hand: nothing passed it as a tensor")
        return given

    def _block(self, module: nn.Module) -> nn.Module | None:
        try:
            return block_of(self._model, self.path(module))[0]
        except ValueError:
            return None

    def _residual(self, module: nn.Module) -> Tensor:
        block = self._block(module)
        if block is None:
            raise ValueError(
                f"{self.path(module)} stands in no list of blocks, so there is no residual stream around it"
            )
        return self._input(block)

    def _stop(self) -> None:
        self._muted = False
        self._uses.clear()
        for followed in (self._followed, self._begun_blocks):
            for handle in followed.values():
                handle.remove()
            followed.clear()
        self._inputs.clear()
        self._shares.clear()


def _as_now(host: Callable[[], Tensor], kind: str) -> Callable[[], Tensor]:
    """Let a host's own kernel compute under the autocast of its model, where measuring computes without any."""
    dtype = torch.get_autocast_dtype(kind)

    def lowered() -> Tensor:
        with torch.autocast(kind, dtype=dtype):
            return host()

    return lowered


def positions(valid: Tensor | None, n: int, start: int, op: Operands) -> Tensor:
    """Return the positions in the run of `n` tokens from index `start`, padding not counted and -1: [batch, n]."""
    if valid is None:
        return torch.arange(start, start + n, device=op.q.device).expand(op.batch, n)
    missing = start + n - valid.shape[1]
    valid = torch.nn.functional.pad(valid, (0, max(missing, 0)))
    at = torch.where(valid, valid.cumsum(-1) - 1, -1)[:, start : start + n]
    return at.to(op.q.device).expand(op.batch, n)


def _place(site: Site, op: Operands, recipe: "Recipe | None", session: Session) -> tuple[int, int, Tensor | None]:
    """Return the run's indices of the first query and the first key, and which tokens of the keys' sequence are real."""
    if site.role == "cross":
        return session.seen, 0, op.mask.keys if recipe is None else recipe.tokens()
    if recipe is not None:
        return recipe.q_index, recipe.k_index, recipe.tokens()
    # Without a recipe: the queries come after what a cache holds, of which it may have dropped the first or keep empty places.
    q_index = session.seen if site.main else 0
    k_index = max(0, q_index + op.q_len - op.k_len)
    tokens = _fitting(session.valid if site.main or site.part == "encoder" else None, op, q_index + op.q_len)
    if tokens is None and op.mask.keys is not None and op.mask.keys.ndim == 2 and k_index == 0:
        tokens = op.mask.keys
    return q_index, k_index, tokens


def _fitting(valid: Tensor | None, op: Operands, tokens: int) -> Tensor | None:
    """Return which tokens are real, if what the model was given can be about these tokens."""
    if valid is None or valid.shape != (op.batch, tokens):
        return None
    return valid
