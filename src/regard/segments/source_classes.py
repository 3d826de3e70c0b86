"""What each token of a source text is to a translation model: a word, or one of the tokens around words."""

from collections.abc import Collection
from typing import Any, Literal, get_args

from torch import Tensor

from .spelling import spell
from .words import is_punctuation

Class = Literal["content", "eos", "tag", "special", "punctuation"]
CLASSES: tuple[str, ...] = get_args(Class)
"""By their numbers from 0; padding is -1. Function words are content."""
_PLAIN = ("bos", "eos", "pad", "unk", "sep", "cls", "mask")


def source_classes(
    tokenizer: Any, ids: Tensor, attention_mask: Tensor | None = None, tags: Collection[int] | None = None
) -> Tensor:
    """Return the class of each token by its id, [example, token], numbers of `CLASSES`, -1 where the mask is 0.

    `eos` is the tokenizer's end marker; a `tag` is a language code: one of `tags`, or by default every special token that is none
    of the usual ones; `special` are those. A token is `punctuation` if what it decodes to, without white space, has marks and
    symbols only, or nothing. Places do not matter, so that older and newer layouts of NLLB are told apart from words alike.
    Source: arXiv 2605.01229, section 3.
    """
    named = {getattr(tokenizer, f"{name}_token_id", None): name for name in _PLAIN}
    named.pop(None, None)
    special = {*tokenizer.all_special_ids} | {
        token for token, added in getattr(tokenizer, "added_tokens_decoder", {}).items() if added.special
    }
    codes = special - set(named) if tags is None else set(tags)
    number = {name: place for place, name in enumerate(CLASSES)}
    known: dict[int, int] = {}
    for token in ids.unique().tolist():
        if token == tokenizer.eos_token_id:
            known[token] = number["eos"]
        elif token in codes:
            known[token] = number["tag"]
        elif token in special:
            known[token] = number["special"]
        else:
            text = spell(tokenizer, [token])[0].replace("\u2581", "").strip()
            known[token] = number["punctuation" if not text or is_punctuation(text) else "content"]
    classes = ids.cpu().clone().apply_(known.__getitem__)
    return classes if attention_mask is None else classes.masked_fill(~attention_mask.cpu().bool(), -1)
