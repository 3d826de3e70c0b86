"""What each token of a padded batch is."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .example import Example
from .expression import resolve

_ALWAYS = ("first", "rest", "all", "generated")


class Segmentation:
    """The segments of a batch, by name: `x.segments["user|image[0]"]` is bool [batch, token], False for padding.

    Names are joined as `a|b` and negated as `!a`. `valid` [batch, token] is False for padding; tokens from the index `prompt`
    on were generated.
    """

    def __init__(self, examples: Sequence[Example], valid: Tensor, prompt: int | None = None) -> None:
        self.examples = list(examples)
        self.valid = valid.cpu()
        self._prompt = self.valid.shape[1] if prompt is None else prompt

    def names(self) -> list[str]:
        """Return the names that are known, those of families as a sketch."""
        return [*_ALWAYS, *dict.fromkeys(name for example in self.examples for name in example.names())]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __getitem__(self, name: str) -> Tensor:
        """Return a segment, bool [batch, token]; raises KeyError with the names there are."""
        return resolve(name, self._find, self.valid)

    def __setitem__(self, name: str, tokens: Tensor) -> None:
        """Name tokens, bool [batch, token]; raises ValueError for another shape and for a name with a meaning."""
        if name in _ALWAYS or any(mark in name for mark in "|!:["):
            raise ValueError(f"{name!r} cannot name a segment: it means something already")
        if tokens.shape != self.valid.shape or tokens.dtype != torch.bool:
            raise ValueError(
                f"a segment of this batch is bool {list(self.valid.shape)}, not {tokens.dtype} {list(tokens.shape)}"
            )
        for example, row, valid in zip(self.examples, tokens.cpu(), self.valid, strict=True):
            example.named[name] = row[valid]
            example.vocabulary.remember(example)

    def labels(self) -> list[list[str]]:
        """Return the most telling name of each token, "" for padding: the user's and roles first, then image, special, text."""
        rows = [[""] * self.valid.shape[1] for _ in self.examples]
        known = self.names()
        user = dict.fromkeys(name for example in self.examples for name in example.named if name != "template")
        images = [name for name in known if name.startswith("image[")]
        for name in [name for name in ("text", "template", "special") if name in known] + images + list(user):
            for row, token in self[name].nonzero().tolist():
                rows[row][token] = name
        return rows

    def __repr__(self) -> str:
        found = {name: int(self[name].sum()) for name in self.names() if not name.endswith(("PATTERN", "[N]"))}
        return f"segments: {', '.join(f'{name} ({n})' for name, n in found.items())} of {int(self.valid.sum())} tokens"

    def _find(self, name: str) -> Tensor:
        count = self.valid.cumsum(-1)
        match name:
            case "first":
                return count == 1
            case "rest":
                return count > 1
            case "all":
                return self.valid
            case "generated":
                return torch.arange(self.valid.shape[1]).expand_as(self.valid) >= self._prompt
        rows = [example.find(name) for example in self.examples]
        if all(row is None for row in rows):
            hint = "; chat roles are known of what lens.encode made of messages" if name in _ROLES else ""
            raise KeyError(f"no segment {name!r}; there are {', '.join(self.names())}{hint}")
        found = torch.zeros_like(self.valid)
        for place, row in enumerate(rows):
            if row is not None:
                found[place, self.valid[place]] = row
        return found


_ROLES = ("system", "user", "assistant", "tool")
