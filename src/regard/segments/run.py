"""The segments of one run of a model: a forward pass, or a generation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.call import Call
from ..core.session import Session
from .example import Example
from .table import Segmentation
from .vocabulary import Vocabulary


class TokenSegments:
    """The segments of one run: of the examples that its vocabulary remembers by their ids, otherwise from the ids alone.

    `given` are the examples of the run where they are known: two of the same ids may differ in what users named, and
    embeddings have no ids to be found by. Tokens that come later are in `generated`, and in what their ids tell.
    """

    def __init__(self, session: Session, vocabulary: Vocabulary, given: Sequence[Example] | None = None) -> None:
        self._session = session
        self._vocabulary = vocabulary
        self._given = given
        self._prompts: dict[bytes, Example] = {}
        self._seen: tuple[Tensor | None, Tensor | None, int] | None = None
        self._tables: dict[str, Tensor] = {}
        self._whole: Segmentation | None = None
        self._encoded: TokenSegments | None = None

    def names(self) -> list[str]:
        """Return all names that `keys` knows."""
        return self._now().names()

    def keys(self, name: str, call: Call) -> Tensor:
        """Return which keys of the call are in the segment, [batch, key] bool.

        Raises KeyError for an unknown name, and for a call whose keys are not the tokens that the run was given.
        """
        source = self._session.source
        if source is not None and (call.site.role == "cross" or call.site.part == "encoder"):
            return self._of_source(name, call, source)
        if call.site.role == "cross" or not call.site.main:
            raise KeyError(
                f"segment {name!r} names tokens that the model was given, and the keys of {call.site} are others"
            )
        whole = self._now()
        if name not in self._tables:
            self._tables[name] = whole[name]
        table = self._tables[name].to(call.kpos.device)
        if table.shape[0] != call.op.batch:
            raise KeyError(f"segment {name!r} is of a batch of {table.shape[0]}, and {call.site} has {call.op.batch}")
        table = table[:, call.k_index : call.k_index + call.op.k_len]
        return torch.nn.functional.pad(table, (0, call.op.k_len - table.shape[1])) & (call.kpos >= 0)

    def _of_source(self, name: str, call: Call, source: Session) -> Tensor:
        """Return which keys are in a segment of what the encoder was given; a generation gives an example several rows."""
        if self._encoded is None or self._encoded._session is not source:
            self._encoded = TokenSegments(source, self._vocabulary)
        table = self._encoded._now()[name].to(call.kpos.device)
        if call.op.batch % table.shape[0] or table.shape[1] != call.op.k_len:
            raise KeyError(
                f"segment {name!r} is of {list(table.shape)} tokens, and the keys of {call.site} are "
                f"[{call.op.batch}, {call.op.k_len}]"
            )
        return table.repeat_interleave(call.op.batch // table.shape[0], 0) & (call.kpos >= 0)

    def _now(self) -> Segmentation:
        """Return the segments of the tokens so far, found once per pass."""
        session = self._session
        now = (session.ids, session.valid, session.length)
        if self._whole is None or self._seen is None or not _same(now, self._seen):
            self._seen, self._tables = now, {}
            self._whole = self._embedded() if session.ids is None else self._of(session.ids.cpu())
        return self._whole

    def _of(self, ids: Tensor) -> Segmentation:
        valid = _fitted(self._session.valid, len(ids), ids.shape[1])
        prompt = min(self._session.prompt, ids.shape[1])
        examples = []
        given = self._given if self._given is not None and len(self._given) == len(ids) else [None] * len(ids)
        for row, real, told in zip(ids, valid, given, strict=True):
            first, tail = row[:prompt][real[:prompt]], row[prompt:][real[prompt:]]
            example = told if told is not None and _is(told, first) else self._prompt(first)
            examples.append(example.extended(tail) if len(tail) else example)
        return Segmentation(examples, valid, self._session.prompt)

    def _prompt(self, ids: Tensor) -> Example:
        key = ids.numpy().tobytes()
        if key not in self._prompts:
            self._prompts[key] = self._vocabulary.recall(ids) or self._vocabulary.example(ids)
        return self._prompts[key]

    def _embedded(self) -> Segmentation:
        """Return the segments of a run that is fed embeddings: those that were given, and none of the tokens after them."""
        session, length = self._session, self._session.length
        if not self._given:
            raise KeyError(
                "the run has no token ids to find segments by; there are first, rest, all. To name tokens of embeddings, "
                "measure what lens.encode made: lens.measure(x.with_embeddings(e), ...)"
            )
        valid = _fitted(session.valid, len(self._given), length)
        examples = []
        for example, real in zip(self._given, valid, strict=True):
            missing = int(real.sum()) - len(example)
            if missing < 0:
                raise KeyError(f"segments were given for {len(example)} tokens, and the run has {int(real.sum())}")
            examples.append(example.lengthened(missing))
        return Segmentation(examples, valid, session.prompt)


def _is(example: Example, ids: Tensor) -> bool:
    return example.ids is not None and torch.equal(example.ids, ids)


def _fitted(valid: Tensor | None, batch: int, length: int) -> Tensor:
    """Return which of the tokens so far are real, bool [batch, token]; those that no mask is about are."""
    if valid is None:
        return torch.ones(batch, length, dtype=torch.bool)
    valid = valid.cpu()[:, :length]
    return torch.nn.functional.pad(valid, (0, length - valid.shape[1]), value=True)


def _same(one: tuple[Tensor | None, Tensor | None, int], other: tuple[Tensor | None, Tensor | None, int]) -> bool:
    return one[0] is other[0] and one[1] is other[1] and one[2] == other[2]
