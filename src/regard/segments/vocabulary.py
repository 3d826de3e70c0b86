"""What a tokenizer or processor can tell of token ids."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from .example import Example
from .image import find_pictures
from .spelling import spell

_NAMED = ("bos", "eos", "cls", "sep")


class Vocabulary:
    """Special tokens, the image token and the spelling of ids of one model.

    It remembers the examples that it was shown as long as somebody holds them, so that a run of the model finds what is known
    of its tokens by their ids, in whatever batch, padding or beam they come.
    """

    def __init__(self, processor: Any = None, config: Any = None) -> None:
        tokenizer = getattr(processor, "tokenizer", processor)
        self.processor = processor
        self.tokenizer = tokenizer if hasattr(tokenizer, "all_special_ids") else None
        self.image = _image_token(processor, self.tokenizer, config)
        self.named: dict[str, int] = {}
        special: set[int] = set()
        if self.tokenizer is not None:
            added = getattr(self.tokenizer, "added_tokens_decoder", {})
            special = {*self.tokenizer.all_special_ids, *(i for i, token in added.items() if token.special)}
            found = {name: getattr(self.tokenizer, f"{name}_token_id", None) for name in _NAMED}
            self.named = {name: token for name, token in found.items() if token is not None}
        self.special = torch.tensor(sorted(special - {self.image}), dtype=torch.long)
        self._remembered: WeakValueDictionary[bytes, Example] = WeakValueDictionary()
        self._embedded: WeakValueDictionary[bytes, Example] = WeakValueDictionary()

    def example(self, ids: Tensor) -> Example:
        """Return what ids [token] alone tell."""
        return Example(self, ids, pictures=find_pictures(ids, self.image))

    def names(self, ids: Sequence[int]) -> list[str]:
        """Return tokens as the tokenizer writes them; their numbers where there is none."""
        return [
            str(one) for one in (ids if self.tokenizer is None else self.tokenizer.convert_ids_to_tokens(list(ids)))
        ]

    def spell(self, ids: Sequence[int]) -> tuple[str, list[tuple[int, int]]]:
        """Return the text of ids, and each token's range of characters in it."""
        return spell(self.tokenizer, ids)

    def remember(self, example: Example) -> None:
        """Let runs of the same ids find this example, as long as somebody holds it."""
        if example.ids is not None:
            self._remembered[_key(example.ids)] = example

    def recall(self, ids: Tensor) -> Example | None:
        """Return what is remembered of ids [token], or of the beginning that they are of a longer text."""
        known = self._remembered.get(_key(ids))
        if known is not None:
            return known
        n = len(ids)
        for whole in list(self._remembered.values()):
            if whole.ids is not None and len(whole.ids) > n and torch.equal(whole.ids[:n], ids):
                return whole.take(torch.arange(n))
        return None

    def remember_embedded(self, embeddings: Tensor, valid: Tensor, examples: Sequence[Example]) -> None:
        """Let runs that are fed these embeddings [batch, token, dim] find their examples, as long as somebody holds them."""
        for row, real, example in zip(embeddings, valid, examples, strict=True):
            self._embedded[_digest(row, real)] = example

    def recall_embedded(self, embeddings: Tensor, valid: Tensor | None) -> list[Example] | None:
        """Return what is remembered of a batch of embeddings, None where one of them is not known."""
        if not self._embedded:
            return None
        real = torch.ones(embeddings.shape[:2], dtype=torch.bool) if valid is None else valid.cpu()
        found = [self._embedded.get(_digest(*pair)) for pair in zip(embeddings, real, strict=True)]
        known = [example for example in found if example is not None]
        return known if len(known) == len(found) else None


def _digest(row: Tensor, real: Tensor) -> bytes:
    return sha256(row.detach().cpu()[real].contiguous().view(torch.uint8).numpy().tobytes()).digest()


def _key(ids: Tensor) -> bytes:
    return ids.numpy().tobytes()


def _image_token(processor: Any, tokenizer: Any, config: Any) -> int | None:
    """Return the id that stands for a piece of an image, from the configuration, the processor or the tokenizer."""
    for owner in (config, processor, tokenizer):
        for name in ("image_token_id", "image_token_index"):
            token = getattr(owner, name, None)
            if isinstance(token, int):
                return token
    return None
