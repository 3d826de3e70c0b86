"""The words of the little world as a fast tokenizer of transformers."""

from functools import cache
from typing import TYPE_CHECKING

from . import lexicon

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
PAD, BOS, EOS, UNK = range(4)
_MARKS = (".", ",", "?", ":")


@cache
def words() -> tuple[str, ...]:
    """Return all tokens in the order of their ids: special ones, marks, words."""
    kinds = (
        lexicon.GRAMMAR,
        lexicon.NAMES,
        lexicon.PLACES,
        lexicon.FURNITURE,
        lexicon.OBJECTS,
        lexicon.COLOURS,
        lexicon.SIZES,
        lexicon.FEELINGS,
        lexicon.DAYS,
        lexicon.LABELS,
        lexicon.NUMBERS,
        lexicon.ROWS,
        lexicon.COLUMNS,
    )
    return tuple(dict.fromkeys([*SPECIAL, *_MARKS, *(word for kind in kinds for word in kind)]))


@cache
def raw_tokenizer() -> "Tokenizer":
    """Return the tokenizer of the tokenizers library: a token per word and mark, `<s>` before a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    # A word brings the space before it along, so that decoding gives the text back.
    ids = {word if word in SPECIAL + _MARKS else f"▁{word}": number for number, word in enumerate(words())}
    made = Tokenizer(models.WordLevel(ids, unk_token=SPECIAL[UNK]))
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    made.decoder = decoders.Metaspace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", BOS)]
    )
    return made


def tokenizer() -> "PreTrainedTokenizerFast":
    """Return the tokenizer for transformers; its `save_pretrained` makes a folder that `AutoTokenizer` loads."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=raw_tokenizer(),
        pad_token=SPECIAL[PAD],
        bos_token=SPECIAL[BOS],
        eos_token=SPECIAL[EOS],
        unk_token=SPECIAL[UNK],
    )
