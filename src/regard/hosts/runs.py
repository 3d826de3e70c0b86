"""Which run a forward pass belongs to: alone, or one step of a generation that its cache holds together."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..core.session import Session
from .hook import Hook
from .recipe import RecipeTensor
from .refuse import Refusal
from .shared import Shared
from .turn import Turn

_CHANGES = ("reorder_cache", "batch_select_indices", "batch_repeat_interleave", "crop")
"""Methods of transformers' caches that change which rows and tokens they hold."""
_sessions: "WeakKeyDictionary[Any, Session]" = WeakKeyDictionary()

Begin = Callable[[Session, Mapping[str, Any]], None]
"""Told of each pass: its session, and what the model is called with, by name."""


class Runs:
    """The runs of one model while somebody listens: a session per cache, or per pass where there is none."""

    def __init__(self, model: nn.Module, begin: Begin) -> None:
        self._model = model
        self._begin = begin
        self.turn = Turn()
        self._prompt: int | None = None
        self._padding: Tensor | None = None
        self._examples: int | None = None
        self._leader: Session | None = None
        self._whole: Session | None = None
        self._source: Session | None = None
        self._begun = False
        self.cached = False
        self.session = Session()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Follow forward passes, generations and changes of their caches."""
        with ExitStack() as stack:
            for module in _models(self._model):
                stack.callback(module.register_forward_pre_hook(Hook(self._enter), with_kwargs=True).remove)
            if _generates(self._model):
                stack.enter_context(self._following_generate())
            if "transformers" in sys.modules:
                stack.enter_context(_following_caches())
            stack.callback(self._reset)
            stack.enter_context(self.turn.listening())
            yield

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """Follow how passes end; begun after all else that hooks the modules, so that it is the last to hear of it."""
        with ExitStack() as stack:
            for module in _models(self._model):
                stack.callback(module.register_forward_hook(Hook(self._leave), always_call=True).remove)
            yield

    @contextmanager
    def together(self) -> Iterator[Session]:
        """Take all passes without a cache for steps of one run, as those of a sampling loop are."""
        before, self._whole, self._begun = (self._whole, self._begun), Session(), False
        try:
            yield self._whole
        finally:
            self._whole, self._begun = before

    def alone(self) -> None:
        """Start a run for a call outside any forward pass of the model, as when a user calls one of its layers."""
        self._start(Session(), {})

    def _start(self, session: Session, arguments: Mapping[str, Any]) -> None:
        self.session = session
        self._begin(session, arguments)

    def _reset(self) -> None:
        self._prompt, self._padding, self._examples, self._leader, self.session = None, None, None, None, Session()
        self._source = None

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if getattr(module, "_is_replica", False):
            raise Refusal(
                "DataParallel runs copies of the model in threads, where a lens hears nothing: run the model itself, on one "
                "device, or use DistributedDataParallel"
            )
        if not self.turn.enter(module):
            return
        given = _arguments(module, args, kwargs)
        cache = given.get("past_key_values")
        known = _sessions.get(cache) if cache is not None else self._whole
        session = known if known is not None else Session()
        if cache is not None and known is None:
            _sessions[cache] = session
        if known is not None and (cache is not None or self._begun):
            session.step += 1
        self._begun = True
        self.cached = cache is not None
        session.seen = int(cache.get_seq_length()) if cache is not None else 0
        ids, embeddings, mask = (given.get(name) for name in ("input_ids", "inputs_embeds", "attention_mask"))
        if _is_pair(self._model):
            self._encode(module, ids, mask)
            session.source = self._source
        if _is_pair(module) and "decoder_input_ids" in given:
            ids, embeddings, mask = (
                given.get(name) for name in ("decoder_input_ids", "decoder_inputs_embeds", "decoder_attention_mask")
            )
        new = next((int(x.shape[1]) for x in (ids, embeddings) if torch.is_tensor(x) and x.ndim > 1), 0)
        session.length = session.seen + new
        session.ids = _joined(session.ids, ids, session.seen)
        session.valid = self._valid(mask, session.length)
        if session.step == 0:
            # A second cache in one generation is of another text, as that of guidance, whose prompt is what it begins with.
            known_prompt = self._prompt if self._leader is None else None
            session.prompt = known_prompt if known_prompt is not None else session.seen + new
            session.ends = _ends(session.valid) if known_prompt is None else None
            if cache is not None and self._leader is None:
                self._leader = session
            session.examples = self._several(next((len(x) for x in (ids, embeddings) if torch.is_tensor(x)), 0))
        self._start(session, given)

    def _encode(self, module: nn.Module, ids: Any, mask: Any) -> None:
        """Remember what an encoder is given, by itself (as generate calls it first) or through its whole model."""
        if torch.is_tensor(ids) and ids.ndim == 2 and (_is_pair(module) or not getattr(module, "is_decoder", False)):
            valid = mask.bool() if torch.is_tensor(mask) and mask.ndim == 2 else None
            n = ids.shape[1]
            self._source = Session(length=n, prompt=n, ids=ids.detach(), valid=valid)

    def _several(self, rows: int) -> Tensor | None:
        """Return which example each row belongs to, [row], where a generation gives an example several; None otherwise."""
        if not self._examples or rows % self._examples or rows == self._examples:
            return None
        return torch.arange(self._examples).repeat_interleave(rows // self._examples)

    def _valid(self, mask: Any, length: int) -> Tensor | None:
        """Return which tokens are real as far as a pass, or the generation that it is a step of, says: [batch, token]."""
        mask = next(iter(mask.values()), None) if isinstance(mask, dict) else mask
        if isinstance(mask, RecipeTensor):
            return mask.recipe.tokens()
        if not isinstance(mask, Tensor):
            return None
        if mask.ndim == 2:
            return mask.bool()[:, : length or None]  # BLOOM fills it up to the length of a static cache
        padding = self._padding
        if not isinstance(padding, Tensor) or padding.ndim != 2 or mask.shape[0] % padding.shape[0]:
            return None
        # A static cache is given masks for each of its layers: what generation adds to the prompt is real.
        rows = padding.bool().repeat_interleave(mask.shape[0] // padding.shape[0], 0)
        return torch.nn.functional.pad(rows, (0, max(length - rows.shape[1], 0)), value=True)[:, :length]

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        cache = getattr(output, "past_key_values", None)
        if self.turn.leave(module) and not self.turn.inside and cache is not None and cache not in _sessions:
            _sessions[cache] = self.session

    def _return(self, result: Any) -> None:
        """Remember what a generation tells of its beams."""
        if self._leader is not None:
            self._leader.beams = getattr(result, "beam_indices", None)

    @contextmanager
    def _following_generate(self) -> Iterator[None]:
        """Learn the length of the prompt, which a chunked prefill or an assistant hides, and keep generate from compiling."""
        model: Any = self._model
        generate = model.generate

        def followed(*args: Any, **kwargs: Any) -> Any:
            with self.turn.held():  # a whole generation, since its prompt is kept here from step to step
                return follow(*args, **kwargs)

        def follow(*args: Any, **kwargs: Any) -> Any:
            ids = next(
                (given for given in (*args[:1], kwargs.get("inputs"), kwargs.get("input_ids")) if given is not None),
                None,
            )
            embeddings = kwargs.get("inputs_embeds")
            prompt = ids if ids is not None else embeddings
            pair = getattr(model.config, "is_encoder_decoder", False)
            kwargs.setdefault("disable_compile", True)  # a compiled graph would no longer come by here
            told = _tells_beams(model, args, kwargs)
            # Of a generation that this one drafts for, if there is one.
            before = self._prompt, self._padding, self._examples, self._leader
            self._leader = None
            self._prompt = None if pair or prompt is None else int(prompt.shape[1])
            self._padding = None if pair else kwargs.get("attention_mask")
            self._examples = None if prompt is None else len(prompt)
            try:
                result = generate(*args, **kwargs)
                self._return(result)
                return result.sequences if told else result
            finally:
                self._prompt, self._padding, self._examples, self._leader = before

        with _replaced(model, "generate", followed), _replaced(model, "init_continuous_batching", _refuse_batching):
            yield


@contextmanager
def _replaced(model: nn.Module, name: str, method: Callable[..., Any]) -> Iterator[None]:
    own = vars(model).get(name)
    setattr(model, name, method)
    try:
        yield
    finally:
        if own is None:
            delattr(model, name)
        else:
            setattr(model, name, own)


def _tells_beams(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Let a beam search that returns sequences only tell by which rows they went, too; say whether it is one."""
    from transformers import GenerationMixin

    configs = (*args[1:2], kwargs.get("generation_config"), model.generation_config)

    def wished(name: str) -> Any:
        return next((v for v in (kwargs.get(name), *(getattr(c, name, None) for c in configs)) if v is not None), None)

    own = type(model).generate is not GenerationMixin.generate or "custom_generate" in kwargs
    if own or (wished("num_beams") or 1) < 2 or wished("return_dict_in_generate"):
        return False
    kwargs["return_dict_in_generate"] = True
    return True


def _refuse_batching(*args: Any, **kwargs: Any) -> Any:
    raise Refusal(
        "continuous batching keeps its keys in pages, which regard cannot follow yet: use generate, with a dynamic or static "
        "cache"
    )


def _is_pair(module: nn.Module) -> bool:
    """Say whether a model is an encoder and a decoder."""
    config: Any = getattr(module, "config", None)
    return bool(getattr(config, "is_encoder_decoder", False))


def _generates(model: nn.Module) -> bool:
    if "transformers" not in sys.modules:
        return False
    from transformers import GenerationMixin

    return isinstance(model, GenerationMixin)


def _models(model: nn.Module) -> list[nn.Module]:
    """Return the model and the transformers models inside it, each of which may be called by itself."""
    if "transformers" not in sys.modules:
        return [model]
    from transformers import PreTrainedModel

    return [module for module in model.modules() if module is model or isinstance(module, PreTrainedModel)]


def _arguments(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what a forward pass is called with, by name."""
    if not args:
        return kwargs
    try:
        return dict(inspect.signature(module.forward).bind_partial(*args, **kwargs).arguments)
    except TypeError:  # the call itself will fail, and say why
        return kwargs


def _joined(before: Tensor | None, new: Any, seen: int) -> Tensor | None:
    """Append the ids of a pass to the `seen` ones before it; None where some are unknown."""
    if not torch.is_tensor(new) or new.ndim != 2:
        return None
    if seen == 0:
        return new.detach()
    if before is None or before.shape[0] != new.shape[0] or before.shape[1] < seen:
        return None
    return torch.cat([before[:, :seen], new.detach().to(before.device)], 1)


def _ends(valid: Tensor | None) -> Tensor | None:
    """Return the places behind each example's last token, [batch]; None where they are the same."""
    if valid is None or bool(valid[:, -1].all()):
        return None
    return torch.where(valid, torch.arange(1, valid.shape[1] + 1, device=valid.device), 0).amax(-1)


def _follow_caches() -> Callable[[], None]:
    """Let sessions follow what is done to the caches that they hang on."""
    from transformers.cache_utils import Cache, EncoderDecoderCache

    originals = [
        (kind, name, vars(kind)[name])
        for kind in (Cache, EncoderDecoderCache)
        for name in _CHANGES
        if name in vars(kind)
    ]
    for kind, name, original in originals:
        setattr(kind, name, _followed(name, original))

    def undo() -> None:
        for kind, name, original in originals:
            setattr(kind, name, original)

    return undo


_following_caches = Shared(_follow_caches).wanted


def _followed(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def changed(self: Any, value: Any) -> Any:
        result = original(self, value)
        session = _sessions.get(self)
        if session is not None:
            if name == "batch_repeat_interleave":
                session.expand(int(value))
            elif name == "crop":
                session.crop(int(self.get_seq_length()))
            else:
                session.reorder(value)
        return result

    return changed
