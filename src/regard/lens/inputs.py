"""What a model is given, with what each token is."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import torch
from torch import Tensor

from ..segments import Segmentation


class Inputs(dict[str, Any]):
    """Model inputs, an ordinary dict (`model(**x)`), that remember their tokens.

    `tokens` are the token strings of each example with its padding, `valid` [batch, token] is False for padding, `segments`
    says what each token is (`x.segments["user"]`), `truncated` how many tokens each example lost, and `chunks` which text each
    example is of and which piece of it, counted from 0. A lens that is handed these inputs takes their segments; in
    `model(**x)` it finds them by the token ids, the latest where several inputs have the same.
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        tokens: list[list[str]],
        segments: Segmentation,
        truncated: Sequence[int],
        chunks: Sequence[tuple[int, int]],
    ) -> None:
        super().__init__(inputs)
        self.tokens = tokens
        self.segments = segments
        self.truncated = list(truncated)
        self.chunks = list(chunks)

    @property
    def valid(self) -> Tensor:
        """Which tokens are not padding, bool [batch, token], on the CPU."""
        return self.segments.valid

    def to(self, device: torch.device | str | int) -> "Inputs":
        """Return the same inputs with their tensors on another device."""
        moved = {name: value.to(device) if torch.is_tensor(value) else value for name, value in self.items()}
        return Inputs(moved, self.tokens, self.segments, self.truncated, self.chunks)

    def with_embeddings(self, embeddings: Tensor) -> "Inputs":
        """Return the same inputs with embeddings [batch, token, dim] in place of the ids, and the segments of the ids.

        Raises ValueError for another number of examples or tokens.
        """
        if embeddings.shape[:2] != self.valid.shape:
            raise ValueError(f"these inputs are {list(self.valid.shape)}, and the embeddings {list(embeddings.shape)}")
        examples = self.segments.examples
        examples[0].vocabulary.remember_embedded(embeddings, self.valid, examples)
        others = {name: value for name, value in self.items() if name not in ("input_ids", "pixel_values")}
        return Inputs({**others, "inputs_embeds": embeddings}, self.tokens, self.segments, self.truncated, self.chunks)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name} {list(v.shape) if torch.is_tensor(v) else v!r}" for name, v in self.items())
        cut = [
            f"text {text + 1} lost {n} tokens" for (text, _), n in zip(self.chunks, self.truncated, strict=True) if n
        ]
        lines = [shapes, repr(self.segments), *cut]
        pieces = [piece for _, piece in self.chunks]
        if any(pieces):
            lines.append(f"{len({text for text, _ in self.chunks})} texts in {len(pieces)} pieces")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        labels = self.segments.labels()
        names = list(dict.fromkeys(name for row in labels for name in row if name))
        colours = {name: f"hsl({place * 137 % 360}, 60%, 85%)" for place, name in enumerate(names)}
        legend = " ".join(_marked(name, name, colours[name]) for name in names)
        rows = []
        for place, (tokens, row) in enumerate(zip(self.tokens, labels, strict=True)):
            text, piece = self.chunks[place]
            lost = f", cut by {self.truncated[place]} tokens" if self.truncated[place] else ""
            head = f"text {text + 1}{f', piece {piece + 1}' if any(p for _, p in self.chunks) else ''}{lost}"
            shown = " ".join(_marked(t, name, colours[name]) for t, name in zip(tokens, row, strict=True) if name)
            rows.append(f"<p><b>{escape(head)}</b></p><p style='line-height:1.9'>{shown}</p>")
        return f"<div style='color:#111'><p>{legend}</p>{''.join(rows)}</div>"


def _marked(text: str, name: str, colour: str) -> str:
    style = f"background:{colour};padding:1px 3px;border-radius:3px;white-space:pre"
    return f"<span title='{escape(name)}' style='{style}'>{escape(text)}</span>"
