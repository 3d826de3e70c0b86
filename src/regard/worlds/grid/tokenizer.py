"""The prompts of the grid world, and their fast tokenizer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

NOUNS = ("ka", "ki", "ku", "ke", "na", "ni", "nu", "ne")
HUES = ("red", "green", "blue")
WORDS = ("<pad>", "<bos>", "<eos>", "a", "and", "the", "with", "of", "on", ".", *HUES, *NOUNS)
PAD, BOS, EOS, A, AND, THE = range(6)
STOP, FIRST_HUE, FIRST_NOUN = WORDS.index("."), WORDS.index(HUES[0]), WORDS.index(NOUNS[0])
LENGTH = 10


def prompt(concepts: Sequence[int]) -> str:
    """Return the plain prompt that names concepts, such as "a ka and a nu"; without concepts the empty one."""
    return " and ".join(f"a {NOUNS[concept]}" for concept in concepts)


def tokenizer() -> "PreTrainedTokenizerFast":
    """Return the tokenizer for transformers: `<bos>` before and `<eos>` after a prompt; other words are an error."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", BOS), ("<eos>", EOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        model_max_length=LENGTH,
        model_input_names=["input_ids", "attention_mask"],
    )
