"""`attach` and the lens that it returns."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from ..core.call import Call, Site
from ..core.effects import Effect
from ..core.patchwork import Patchwork
from ..core.planner import edited, measured, output
from ..core.protocols import Edit, Statistic
from ..core.reduce import Reducer
from ..core.route import route
from ..core.session import Session
from ..core.where import Role, Where
from ..hosts import Tap
from ..hosts.stance import NOTE, compiled
from ..hosts.turn import recomputing
from ..segments import Example, JointSegments, TokenSegments, Vocabulary
from .activations import OF_CALLS, Wanted, blocks_read
from .encode import encode
from .explain import Explanation, Line
from .inputs import Inputs
from .liveness import deaf, prove, try_out
from .memory import with_one_retry
from .recording import Recording
from .results import Measurement, gather
from .rows import indices, rows_of
from .unwrap import unwrap

if TYPE_CHECKING:
    from ..doctor import Examination

Probe = Callable[[Call, Patchwork], None]
"""Looks at each call and the attention that edits have left of it."""


def attach(model: Any, processor: Any = None, *, check: bool = True) -> "Lens":
    """Attach to a model: find its attention, change nothing.

    `processor` is its tokenizer or processor, which `encode` needs, and named segments of tokens. With `check`, a model of
    text or images is run three times on four tokens or one image, to prove that its attention is heard, and that what is
    heard is what it uses; another model on the first inputs that are measured. PEFT, accelerate and data-parallel wrappers
    are taken off. Raises TypeError for what a lens cannot attach to, and ValueError where the proof fails, with what to do.
    """
    lens = Lens(unwrap(model), processor, check=check)
    if compiled(model):  # also in a wrapper that was taken off
        lens._tap.note(NOTE)
    return lens


@dataclass(eq=False)
class _Active:
    """An edit at work, and whether it has met a head and a row."""

    edit: Edit
    applied: bool = False


class Handle:
    """Edits that stay until they are removed."""

    def __init__(self, remove: Callable[[], None]) -> None:
        self._remove = remove

    def remove(self) -> None:
        """Take the edits off; a second call does nothing."""
        self._remove()


class Lens:
    """Measures and edits the attention of one model, whose attention is itself again after every context."""

    def __init__(self, model: nn.Module, processor: Any = None, *, check: bool = True) -> None:
        self.model = model
        self.processor = processor
        self._vocabulary = Vocabulary(processor, getattr(model, "config", None))
        self._given: list[Example] | None = None
        self._edits: list[_Active] = []
        self._probes: list[Probe] = []
        self._told: Callable[[Call, int, Effect, Patchwork, int], None] | None = None
        self._heard = 0
        self._awaited: set[Call] = set()
        self._threads: list[int] = []
        self._tap = Tap(model, self._handle, self._begin)
        self._check = check
        x = try_out(model) if check else None
        self.proved = x is not None and prove(model, x, self._tap.note)

    def encode(
        self, given: Any = None, max_tokens: int | None = None, *, images: Any = None, chunk: int | None = None
    ) -> Inputs:
        """Encode a text, a conversation (messages with role and content) or several, with images, for the model.

        Inputs that are ready (a mapping) are passed through. Examples are padded to one length, on the model's device. Texts
        longer than `max_tokens` are cut; `chunk` gives them in pieces of at most so many tokens, each an example. Raises
        ValueError for an empty text and for one that is longer than the model takes.
        """
        return encode(self.model, self._vocabulary, given, max_tokens, images=images, chunk=chunk)

    def measure(
        self,
        x: Mapping[str, Any] | Iterable[Mapping[str, Any]],
        statistics: Sequence[Statistic],
        progress: Callable[[int], None] | None = None,
        *,
        part: str | None = None,
        role: Role | None = "self",
        of: Literal["edited", "unedited"] = "edited",
        grad: bool = False,
    ) -> Measurement:
        """Run the model on inputs, one batch or several, and measure its attention, edits that are active included.

        `part` and `role` choose the attention as in `Where`. `of="unedited"` measures what each attention would be without
        its own edits, on the inputs that those of earlier layers leave it. `progress` is told how many examples are done.
        A language-model head is not run. With `grad`, means and texts kept apart have gradients, as for a loss on attention;
        otherwise gradients are off. Raises ValueError for values that are not finite, with the layer where they begin, and for
        `grad` under gradient checkpointing, and MemoryError, with what to change, where memory runs out twice.
        """
        names = [statistic.name for statistic in statistics]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"measure needs statistics with different names, not {names or 'none'}")
        if grad and _recomputes(self.model):
            raise ValueError(
                "under gradient checkpointing the backward pass computes the attention again, and nobody would listen: turn it "
                "off to measure with grad"
            )
        where = Where(part=part, role=role)
        reducers: dict[Site, list[Reducer]] = {}
        worst = 0.0
        done = 0
        for batch in [x] if isinstance(x, Mapping) else x:
            if self._check and not self.proved and not self._edits:
                self.proved = prove(_body(self.model, batch), batch, self._tap.note)
            found, deviation = with_one_retry(
                lambda batch=batch: self._measured(batch, statistics, where, of, grad),  # type: ignore[misc]
                "use smaller batches, shorter texts (max_tokens), fewer statistics or a lower precision (dtype)",
            )
            worst = max(worst, deviation)
            for site, values in found.items():
                kept = reducers.setdefault(site, [statistic.reducer() for statistic in statistics])
                for reducer, parts in zip(kept, values, strict=True):
                    for part_values in parts:
                        reducer.add(part_values)
            done += _examples(batch)
            if progress is not None:
                progress(done)
        sites = sorted(reducers, key=lambda site: (site.part, site.role, site.layer, site.use))
        if not sites:
            raise ValueError(self._nothing(part, role))
        results = [
            gather(statistic, sites, {site: reducers[site][place] for site in sites})
            for place, statistic in enumerate(statistics)
        ]
        return Measurement(sites, {result.name: result for result in results}, worst)

    def weights(
        self,
        x: Mapping[str, Any],
        layer: int,
        heads: Sequence[int] | None = None,
        queries: Sequence[int] | None = None,
        *,
        part: str | None = None,
        role: Role | None = "self",
    ) -> Tensor:
        """Return exact rows of the weights of one layer, [batch, head, query, key], edits that are active included.

        `queries` are indices into the padded sequence, from its end where negative; None means all. Raises IndexError for a
        layer, head or query that the model does not have.
        """
        where = Where(part=part, role=role)
        found: list[Tensor] = []
        layers: set[int] = set()

        def probe(call: Call, patchwork: Patchwork) -> None:
            if not where.at(call.site):
                return
            layers.add(call.site.layer)
            if call.site.layer == layer:
                chosen = indices(heads, call.op.heads, "head")
                found.append(rows_of(patchwork, chosen, indices(queries, call.op.q_len, "query")))

        self._run(x, probe)
        if not found:
            raise IndexError(
                f"there is no layer {layer}; there are {sorted(layers)}" if layers else self._nothing(part, role)
            )
        return torch.cat(found)

    def cache(self, x: Mapping[str, Any], names: Sequence[str], *, part: str | None = None) -> dict[str, Tensor]:
        """Run the model on inputs and return the named activations only, edits that are active included.

        A name is KIND.LAYER: `q`, `k`, `v`, `z` (queries and keys after the rotary embedding, values, and head outputs before
        they are mixed), [batch, head, token, dim]; `resid_pre`, `resid_post`, `attn_out`, `mlp_in`, `mlp_mid` (before its last
        projection), `mlp_out`, [batch, token, width].
        Raises ValueError for a name that is not known.
        """
        wanted, where = Wanted.read(names), Where(part=part)
        found: dict[str, Tensor] = {}

        def probe(call: Call, patchwork: Patchwork) -> None:
            if where.at(call.site):
                for kind in wanted.calls.get(call.site.layer, []):
                    if kind not in call.site.gives | {"z"} or (kind == "z" and "v" not in call.site.gives):
                        raise ValueError(
                            f"{call.site} gives no {kind}: its attention is written out, and only scores and weights are seen"
                        )
                    found[f"{kind}.{call.site.layer}"] = OF_CALLS[kind](call, patchwork).detach()

        paths: dict[int, tuple[str, int]] = {}
        if wanted.blocks:
            self._run(
                x,
                lambda call, _: (
                    paths.update({call.site.layer: (call.site.path, call.site.use)}) if where.at(call.site) else None
                ),
            )
        with blocks_read(self.model, paths, wanted.blocks, found.__setitem__):
            self._run(x, probe)
        missing = [name for name in names if name not in found]
        if missing:
            raise ValueError(f"{missing[0]} did not come by: there is no such layer in part {part or 'main'!r}")
        return {name: found[name] for name in names}

    @contextmanager
    def record(
        self, statistics: Sequence[Statistic], *, part: str | None = None, role: Role | None = "self"
    ) -> Iterator[Recording]:
        """Record statistics of each token that the model emits while the context lasts, `model.generate` included."""
        recording = Recording(statistics, Where(part=part, role=role))
        with self._of_this_thread(), self._probing(recording.note):
            yield recording

    @contextmanager
    def edit(self, *edits: Edit) -> Iterator[None]:
        """Edit the model's attention while the context lasts; contexts nest, outer edits first.

        Raises ValueError at the end if the model ran and an edit met no head and no row of it, and RuntimeError if gradient
        checkpointing would run an edited forward pass again, in a backward pass that is still to come.
        """
        active, heard = [_Active(edit) for edit in edits], self._heard
        try:
            with self._of_this_thread(), self._tap.listening():
                self._change(add=active)
                yield
                awaited, self._awaited = self._awaited, set()
            if awaited:
                raise RuntimeError(
                    "under gradient checkpointing the backward pass computes the attention again, and the edit would be gone: "
                    "call backward() before the context ends"
                )
            idle = [one.edit for one in active if not one.applied]
            if idle and self._heard > heard:
                raise ValueError(
                    f"{idle[0]} changed nothing: no call of attention had the heads and tokens that it names"
                )
        finally:
            self._change(remove=active)

    @contextmanager
    def run(self) -> Iterator[Session]:
        """Take all passes inside the context that have no cache for steps of one run, as in a diffusion sampler's loop.

        Edits keep their state from one to the next, and the session that is returned counts them as its `step`. Passes of a
        generation belong together anyway, by their cache.
        """
        with self._of_this_thread(), self._tap.listening(), self._tap.runs.together() as session:
            yield session

    def install(self, *edits: Edit) -> Handle:
        """Edit the model's attention until the handle that is returned is removed, in whatever thread it runs."""
        active, stack = [_Active(edit) for edit in edits], ExitStack()
        stack.enter_context(self._tap.listening())
        self._change(add=active)

        def remove() -> None:
            self._change(remove=active)
            stack.close()

        return Handle(remove)

    def explain(self, *edits: Edit, x: Mapping[str, Any]) -> Explanation:
        """Say how edits would be computed on inputs, at which sites, and on how many heads and rows."""
        explanation = Explanation()
        active = [_Active(edit) for edit in edits]

        def explained(call: Call, place: int, effect: Effect, met: Patchwork, rows: int) -> None:
            if place >= first:
                routes = sorted({route(piece.attention, effect) for piece in met.pieces})
                name, how = type(effect).__name__, " and ".join(routes)
                explanation.lines.append(Line(repr(edits[place - first]), call.site, name, how, met.op.heads, rows))

        first = len(self._edits)
        self._edits, self._told = [*self._edits, *active], explained
        try:
            self._run(x)
        finally:
            self._edits, self._told = self._edits[:first], None
        return explanation

    def doctor(self, x: Mapping[str, Any] | None = None, only: Sequence[str] | None = None) -> "Examination":
        """Check, on this model, that what is measured and edited is what it computes; a few short inputs are made up.

        `only` chooses checks by their names in `regard.doctor.examination.CHECKS`. Raises ValueError where no inputs are known
        that the model takes, and for a check that there is not.
        """
        from ..doctor import examine

        return examine(self, x, only)

    def __repr__(self) -> str:
        kind = type(self.model).__name__
        proof = "proved live" if self.proved else "not yet proved live"
        told = "; ".join(
            [f"{len(self._edits)} edits active", "generate does not compile while it listens", *self.notes]
        )
        return f"Lens({kind}, {proof}; {told})"

    @property
    def notes(self) -> list[str]:
        """What there is to know about how this model's attention is reached, a sentence each; found as it runs."""
        return list(self._tap.notes)

    def _measured(
        self, batch: Mapping[str, Any], statistics: Sequence[Statistic], where: Where, of: str, grad: bool
    ) -> tuple[dict[Site, list[list[Tensor]]], float]:
        """Measure one batch: for each site and statistic, its values call by call; and the spot check's worst."""
        found: dict[Site, list[list[Tensor]]] = {}
        worst = 0.0

        def probe(call: Call, patchwork: Patchwork) -> None:
            nonlocal worst
            if not where.at(call.site):
                return
            _check_finite(call)
            patchwork = patchwork if of == "edited" else edited(call, [])[0]
            values, deviation = measured(call, patchwork, statistics, check=True)
            worst = max(worst, deviation)
            kept = found.setdefault(call.site, [[] for _ in statistics])
            for parts, statistic in zip(kept, statistics, strict=True):
                parts.append(values[statistic.name])

        self._run(batch, probe, grad)
        return found, worst

    def _handle(self, call: Call) -> Tensor | None:
        self._heard += 1
        told = None if self._told is None else partial(self._told, call)
        patchwork, applied = edited(call, [one.edit for one in self._edits], told)
        for place in applied:
            self._edits[place].applied = True
        for probe in self._probes:
            probe(call, patchwork)
        changed = output(call, patchwork, applied)
        if changed is not None and changed.requires_grad and not recomputing() and _recomputes(self.model):
            self._awaited.add(call)
            changed.register_hook(lambda grad: self._awaited.discard(call))
        return changed

    def _begin(self, session: Session, arguments: Mapping[str, Any]) -> None:
        if session.segments is None:
            given, embeddings = self._given, arguments.get("inputs_embeds")
            if given is None and embeddings is not None:
                given = self._vocabulary.recall_embedded(embeddings, session.valid)
            joint = JointSegments.of(self.model, arguments)
            session.segments = joint or TokenSegments(session, self._vocabulary, given)

    @contextmanager
    def _of_this_thread(self) -> Iterator[None]:
        """Keep out other threads' contexts: each would hear and change what the other's model computes."""
        with self._tap.runs.turn.held():
            self._check_thread()
            self._threads.append(get_ident())
        try:
            yield
        finally:
            self._threads.remove(get_ident())

    def _check_thread(self) -> None:
        if any(thread != get_ident() for thread in self._threads):
            raise ValueError(
                "another thread is in a context of this lens, and the two would mix: the model may run in any thread, but use "
                "the lens in one thread at a time, or give each thread a copy of the model and a lens of its own"
            )

    def _change(self, add: Sequence[_Active] = (), remove: Sequence[_Active] = ()) -> None:
        """Change the edits that are active, between the passes of all threads."""
        with self._tap.runs.turn.held():
            self._edits = [one for one in [*self._edits, *add] if one not in remove]

    @contextmanager
    def _probing(self, probe: Probe | None) -> Iterator[None]:
        before = self._probes
        self._probes = [*before, probe] if probe is not None else before
        try:
            with self._tap.listening():
                yield
        finally:
            self._probes = before

    def _run(self, x: Mapping[str, Any], probe: Probe | None = None, grad: bool = False) -> None:
        """Run the model without its language-model head or cache."""
        body = _body(self.model, x)
        known = inspect.signature(body.forward).parameters
        extra = {"use_cache": False} if "use_cache" in known else {}
        with self._tap.runs.turn.held():
            self._check_thread()
            self._given = x.segments.examples if isinstance(x, Inputs) else None
            try:
                with self._probing(probe), torch.set_grad_enabled(grad):
                    body(**{**x, **extra})
            finally:
                self._given = None

    def _nothing(self, part: str | None, role: Role | None) -> str:
        if self._heard == 0:
            return deaf(self.model)
        return f"{type(self.model).__name__} has no attention of part {part or 'main'!r} and role {role or 'any'!r}"


def _body(model: nn.Module, x: Mapping[str, Any]) -> nn.Module:
    """Return the model without its head, where transformers keeps them apart and nothing is wrapped around them both.

    A body that takes other inputs than the model, since the model makes them, is not run by itself.
    """
    body = getattr(model, "base_model", None)
    if "forward" in vars(model) or not isinstance(
        body, nn.Module
    ):  # accelerate's mixed precision is at work in the former
        return model
    try:
        inspect.signature(body.forward).bind(**x)
    except TypeError:
        return model
    return body


def _recomputes(model: nn.Module) -> bool:
    """Say whether parts of a forward pass are run again in the backward pass."""
    return any(getattr(module, "gradient_checkpointing", False) is True for module in model.modules())


def _examples(batch: Mapping[str, Any]) -> int:
    return next((len(value) for value in batch.values() if torch.is_tensor(value) and value.ndim), 1)


def _check_finite(call: Call) -> None:
    """Raise ValueError if the queries, keys or values of a call are not finite."""
    for name, tensor in (("queries", call.q), ("keys", call.k), ("values", call.v)):
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(
                f"the {name} of layer {call.site.layer} ({call.site}) are not finite, and no earlier layer's: the weights or the "
                f"inputs are broken, or {str(tensor.dtype).removeprefix('torch.')} overflows (try bfloat16 or float32)"
            )
