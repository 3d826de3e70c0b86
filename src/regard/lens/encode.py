"""From what users have to what a model takes: texts, conversations, images, or inputs that are ready."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..segments import Example, Segmentation, Vocabulary
from ..segments.chat import Rendered, images_of, is_conversation, render
from .aside import device_of
from .inputs import Inputs
from .pictures import illustrated
from .tokenise import Tokenised, tokenise


def encode(
    model: nn.Module,
    vocabulary: Vocabulary,
    given: Any,
    max_tokens: int | None = None,
    *,
    images: Any = None,
    chunk: int | None = None,
) -> Inputs:
    """Encode a text or several, a conversation or several, with images or without, or pass ready inputs through.

    Examples are padded to one length on the tokenizer's side, on the model's device. A text longer than `max_tokens` is cut
    on the tokenizer's side; with `chunk`, texts are given in pieces of at most so many tokens, each an example. Raises
    TypeError for what is no text, and ValueError for what is empty, for a text longer than the model takes, for images and
    places for them that do not match, and for token ids that the model does not have.
    """
    if isinstance(given, Mapping) and "role" not in given:
        if images is not None or max_tokens is not None or chunk is not None:
            raise ValueError("inputs that are ready are passed through: images, max_tokens and chunk are for texts")
        x = _passed(model, vocabulary, given)
    elif vocabulary.processor is None:
        raise ValueError("encode needs a tokenizer or a processor: regard.attach(model, tokenizer)")
    elif given is None and images is not None:
        x = _passed(model, vocabulary, vocabulary.processor(images=images, return_tensors="pt"))
    else:
        if max_tokens is not None and chunk is not None:
            raise ValueError("a text is cut with max_tokens or given in pieces with chunk, not both")
        texts, seen = _texts(vocabulary.processor, given, images)
        if any(seen):
            if max_tokens is not None or chunk is not None:
                raise ValueError("a text with images cannot be cut or given in pieces: give a shorter one")
            x = illustrated(model, vocabulary, texts, seen)
            limit = _limit(model)
            longest = max(len(example) for example in x.segments.examples)
            if limit is not None and longest > limit:
                raise ValueError(f"a text with its images has {longest} tokens and the model takes {limit}")
        else:
            x = _written(vocabulary, texts, max_tokens, chunk, _limit(model))
        _check(model, vocabulary, x["input_ids"])
        if "token_type_ids" in x and not _takes_token_types(model):
            del x["token_type_ids"]
    for example in x.segments.examples:
        vocabulary.remember(example)
    return x.to(device_of(model))


def _texts(processor: Any, given: Any, images: Any) -> tuple[list[str | Rendered], list[list[Any]]]:
    """Return the texts, and the images of each."""
    one = isinstance(given, str) or is_conversation(given)
    items = [given] if one else list(given) if isinstance(given, Sequence) else None
    if items is None:
        raise TypeError(f"encode takes text, messages or model inputs, not a {type(given).__name__}")
    if not items:
        raise ValueError("no text to encode: give one text or several")
    beside = [images] if one else images
    if images is None:
        beside = [[]] * len(items)
    elif not isinstance(beside, (list, tuple)) or len(beside) != len(items):
        raise ValueError(f"give images for each of the {len(items)} texts: a list of as many, each an image or a list")
    texts: list[str | Rendered] = []
    seen = []
    for place, (item, own) in enumerate(zip(items, beside, strict=True)):
        own = list(own) if isinstance(own, (list, tuple)) else [own]
        if is_conversation(item):
            told = images_of(item)
            texts.append(render(processor, item))
            seen.append([image for image in told if image is not None] if any(i is not None for i in told) else own)
        elif isinstance(item, str):
            texts.append(item)
            seen.append(own)
        else:
            kind = "empty conversation" if item == [] else type(item).__name__
            raise TypeError(f"text {place + 1} is a {kind}, not a string or a list of messages with role and content")
    return texts, seen


def _written(
    vocabulary: Vocabulary,
    texts: Sequence[str | Rendered],
    max_tokens: int | None,
    chunk: int | None,
    limit: int | None,
) -> Inputs:
    """Return texts as inputs, cut or in pieces."""
    if vocabulary.tokenizer is None:
        raise ValueError(f"{type(vocabulary.processor).__name__} takes no text: give it images, encode(images=...)")
    examples: list[Example] = []
    truncated: list[int] = []
    chunks: list[tuple[int, int]] = []
    for place, text in enumerate(texts):
        whole = tokenise(vocabulary, text)
        if len(whole) == whole.head + whole.tail:
            raise ValueError(f"text {place + 1} of {len(texts)} is empty: there is nothing to attend to")
        pieces = _pieces(whole, max_tokens, chunk, vocabulary.tokenizer)
        longest = max(len(piece) for piece in pieces)
        if limit is not None and longest > limit:
            raise ValueError(
                f"text {place + 1} of {len(texts)} has {longest} tokens and the model takes {limit}: "
                f"cut it with max_tokens={limit}, or give it in pieces with chunk={limit}"
            )
        examples += pieces
        truncated += [len(whole) - len(pieces[0]) if chunk is None else 0] * len(pieces)
        chunks += [(place, piece) for piece in range(len(pieces))]
    return _padded(vocabulary, examples, truncated, chunks)


def _pieces(whole: Tokenised, max_tokens: int | None, chunk: int | None, tokenizer: Any) -> list[Example]:
    if chunk is not None:
        return whole.pieces(chunk)
    if max_tokens is not None:
        return [whole.cut(max_tokens, getattr(tokenizer, "truncation_side", "right"))]
    return [whole.example]


def _padded(
    vocabulary: Vocabulary, examples: Sequence[Example], truncated: Sequence[int], chunks: Sequence[tuple[int, int]]
) -> Inputs:
    tokenizer: Any = vocabulary.tokenizer
    width = max(len(example) for example in examples)
    filler = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    ids = torch.full((len(examples), width), filler, dtype=torch.long)
    valid = torch.zeros(len(examples), width, dtype=torch.bool)
    for row, example in enumerate(examples):
        n = len(example)
        place = slice(width - n, width) if tokenizer.padding_side == "left" else slice(0, n)
        assert example.ids is not None
        ids[row, place], valid[row, place] = example.ids, True
    given = {"input_ids": ids, "attention_mask": valid.long()}
    if "token_type_ids" in getattr(tokenizer, "model_input_names", []):
        given["token_type_ids"] = torch.zeros_like(ids)
    tokens = [tokenizer.convert_ids_to_tokens(row) for row in ids.tolist()]
    return Inputs(given, tokens, Segmentation(examples, valid), truncated, chunks)


def _passed(model: nn.Module, vocabulary: Vocabulary, given: Mapping[str, Any]) -> Inputs:
    """Return inputs that are ready, with what their ids tell."""
    ready = {name: _tensor(name, value) for name, value in given.items() if name != "offset_mapping"}
    ids = ready.get("input_ids")
    shape = next((ready[name].shape for name in ("input_ids", "inputs_embeds") if name in ready), None)
    if ids is not None and (ids.ndim != 2 or ids.is_floating_point()):
        raise ValueError(f"input_ids are integers [batch, token], not {ids.dtype} {list(ids.shape)}")
    if shape is None:  # images or sounds alone: there are no tokens to name
        batch = next((len(value) for value in ready.values() if torch.is_tensor(value) and value.ndim), 0)
        shape = torch.Size((batch, 0))
    if 0 in shape[:1] or (ids is not None and ids.numel() == 0):
        raise ValueError("these inputs are empty: there is nothing to attend to")
    mask = ready.get("attention_mask")
    _check(model, vocabulary, ids)  # before they are spelled
    valid = torch.ones(shape[:2], dtype=torch.bool)
    if torch.is_tensor(mask) and mask.shape == valid.shape:
        valid = mask.bool().cpu()
    if ids is None:
        examples = [Example(vocabulary, None, length=int(real.sum())) for real in valid]
        tokens = [["·"] * shape[1] for _ in examples]
    else:
        examples = [_known(vocabulary, row[real]) for row, real in zip(ids.cpu(), valid, strict=True)]
        tokens = [vocabulary.names(row) for row in ids.tolist()]
    return Inputs(
        ready, tokens, Segmentation(examples, valid), [0] * len(examples), [(n, 0) for n in range(len(examples))]
    )


def _known(vocabulary: Vocabulary, ids: Tensor) -> Example:
    known = vocabulary.recall(ids)
    return vocabulary.example(ids) if known is None else replace(known, named=dict(known.named))


def _tensor(name: str, value: Any) -> Any:
    if torch.is_tensor(value) or not (isinstance(value, (list, tuple)) or hasattr(value, "__array__")):
        return value
    try:
        return torch.as_tensor(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{name} is no rectangle of numbers: pad the examples to one length, or give texts and let encode do it"
        ) from error


def _check(model: nn.Module, vocabulary: Vocabulary, ids: Tensor | None) -> None:
    """Raise ValueError for token ids that the model has no embedding of."""
    size = _vocabulary_size(model)
    if ids is None or size is None:
        return
    unknown = [token for token in ids[(ids < 0) | (ids >= size)].tolist() if token != vocabulary.image]
    if unknown:
        raise ValueError(
            f"there is no token {unknown[0]} in this model, whose vocabulary has {size}: "
            "is this the tokenizer that belongs to it?"
        )


def _takes_token_types(model: nn.Module) -> bool:
    """Say whether a model takes token types: it names them, or names nothing and hands on what it gets.

    Beside names, `**kwargs` are options of kernels, and `generate` refuses inputs that are not named.
    """
    names = inspect.signature(model.forward).parameters
    return "token_type_ids" in names or "input_ids" not in names


def _vocabulary_size(model: Any) -> int | None:
    try:
        size = model.get_input_embeddings().num_embeddings
    except (AttributeError, NotImplementedError):
        return None
    return size if isinstance(size, int) else None


def _limit(model: Any) -> int | None:
    """Return how many tokens the model takes, None where nothing says so."""
    config: Any = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    limit = getattr(text, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return None
    for name, module in model.named_modules():  # RoBERTa numbers positions from behind its padding
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return limit - int(module.padding_idx) - 1
    return limit
