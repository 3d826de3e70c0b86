"""One tap on a model: whatever tier an attention call comes by, it becomes a `Call` with its site, its positions and its run."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ..core.call import Call, Site
from ..core.operands import Operands
from ..core.session import Session
from .functions import Functions
from .interface import Interface
from .names import Names
from .runs import Runs

if TYPE_CHECKING:
    from .recipe import Recipe

Handler = Callable[[Call], Tensor | None]
"""Gets each call; returns its output [batch, head, query, value_dim], or None to let the host's own stand."""


class Tap:
    """Listens to the attention calls of a model, in every tier at once."""

    def __init__(
        self, model: nn.Module, handler: Handler, begin: Callable[[Session], None] = lambda session: None
    ) -> None:
        self._handler = handler
        self._names = Names(model)
        self.runs = Runs(model, self._begun(begin))
        self._tiers = (Interface(model), Functions(model))
        self._listening = 0
        self._muted = False
        self._uses: dict[nn.Module, int] = {}
        self._sites: dict[tuple[nn.Module, int], Site] = {}
        self._counted: dict[nn.Module, ExitStack] = {}

    @property
    def muted(self) -> bool:
        """True while calls are not to be heard: those that a handler or a host's own kernel makes."""
        return self._muted

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the model's attention calls; contexts nest."""
        if self._listening:
            self._listening += 1
            try:
                yield
            finally:
                self._listening -= 1
            return
        with ExitStack() as stack:
            stack.enter_context(self.runs.listening())
            for tier in self._tiers:
                stack.enter_context(tier.listening(self))
            self._listening = 1
            stack.callback(self._stop)
            yield

    @contextmanager
    def mute(self) -> Iterator[None]:
        """Hear nothing for a while."""
        before, self._muted = self._muted, True
        try:
            yield
        finally:
            self._muted = before

    def path(self, module: nn.Module) -> str:
        """Return a module's name in the model."""
        return self._names[module].path

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
        if not self.runs.inside:
            self.runs.alone()
        session = self.runs.session
        site = self._site(module, op, tier, gives, recipe)
        q_index, k_index, keys = _place(site, op, recipe, session)
        at_k = positions(keys, op.k_len, k_index, op)
        if site.role == "cross":
            at_q = positions(_fitting(session.valid, op, q_index + op.q_len), op.q_len, q_index, op)
        else:
            at_q = positions(keys, op.q_len, q_index, op)
            at_k = at_k.masked_fill(torch.arange(op.k_len, device=at_k.device) + k_index >= q_index + op.q_len, -1)
        call = Call(site, op, at_q, at_k, q_index, k_index, session, host)
        with self.mute():
            return self._handler(call)

    def _begun(self, begin: Callable[[Session], None]) -> Callable[[Session], None]:
        def start(session: Session) -> None:
            self._uses.clear()
            begin(session)

        return start

    def _site(self, module: nn.Module, op: Operands, tier: str, gives: frozenset[str], recipe: "Recipe | None") -> Site:
        if module not in self._uses:
            self._uses[module] = 0
            if module not in self._counted:
                self._counted[module] = ExitStack()
                self._counted[module].callback(module.register_forward_pre_hook(self._used).remove)
        key = (module, self._uses[module])
        if key not in self._sites:
            name = self._names[module]
            uneven = recipe is None and op.q_len != op.k_len and self.runs.session.seen == 0
            told = name.cross or getattr(module, "is_cross_attention", False) is True
            role = "cross" if told or uneven else "self"
            layer = name.layer
            if layer is None or key[1] > 0:
                layer = sum(site.part == name.part and site.role == role for site in self._sites.values())
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

    def _used(self, module: nn.Module, args: object) -> None:
        if module in self._uses:
            self._uses[module] += 1

    def _stop(self) -> None:
        self._listening = 0
        self._muted = False
        self._uses.clear()
        for hooks in self._counted.values():
            hooks.close()
        self._counted.clear()


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
        return session.seen, 0, None if recipe is None else recipe.tokens()
    if recipe is not None:
        return recipe.q_index, recipe.k_index, recipe.tokens()
    # Without a recipe: the queries are the last of the keys where a cache is in use, the same tokens where there is none.
    q_index = session.seen if site.main and session.seen + op.q_len == op.k_len else 0
    return q_index, 0, _fitting(session.valid if site.main or site.part == "encoder" else None, op, op.k_len)


def _fitting(valid: Tensor | None, op: Operands, tokens: int) -> Tensor | None:
    """Return which tokens are real, if what the model was given can be about these tokens."""
    if valid is None or valid.shape != (op.batch, tokens):
        return None
    return valid
