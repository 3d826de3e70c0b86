"""Texts with images, through a processor: which tokens stand for which image, and what the text around them is."""

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import Tensor, nn

from ..segments import Example, Grid, Segmentation, Vocabulary
from ..segments.chat import Rendered
from ..segments.image import find_pictures, grids
from .inputs import Inputs
from .tokenise import tokenise, unchanged


def illustrated(
    model: nn.Module, vocabulary: Vocabulary, texts: Sequence[str | Rendered], images: Sequence[Sequence[Any]]
) -> Inputs:
    """Encode texts with their images; raises ValueError where images and the places for them do not match."""
    processor = vocabulary.processor
    if vocabulary.tokenizer is None or not hasattr(processor, "image_processor"):
        raise ValueError(
            f"{type(processor).__name__} does not take text with images: attach with the model's processor"
        )
    written = [text if isinstance(text, str) else text.text for text in texts]
    _check_places(processor, written, images)
    loaded = [[_loaded(image) for image in own] for own in images]
    flat = [image for own in loaded for image in own]
    options: dict[str, Any] = {"return_tensors": "pt"}
    if len(texts) > 1:
        if vocabulary.tokenizer.pad_token_id is None:
            raise ValueError("texts with images are padded by the processor, whose tokenizer has no pad token: set one")
        options["padding"] = True
    bos = vocabulary.tokenizer.bos_token
    if not isinstance(texts[0], str) and bos and written[0].startswith(bos):
        options["add_special_tokens"] = False
    with unchanged(vocabulary.tokenizer):
        features = processor(text=written, images=loaded if all(loaded) else flat, **options)
    config = getattr(model, "config", None)
    found = grids(processor, config, features, [_size(image) for image in flat])
    ids, valid = features["input_ids"], features["attention_mask"].bool()
    examples = []
    for text, own, row, real in zip(texts, loaded, ids, valid, strict=True):
        mine, found = found[: len(own)], found[len(own) :]
        examples.append(_example(vocabulary, text, row[real], mine))
    tokens = [vocabulary.tokenizer.convert_ids_to_tokens(row) for row in ids.tolist()]
    places = [(place, 0) for place in range(len(texts))]
    return Inputs(dict(features), tokens, Segmentation(examples, valid), [0] * len(texts), places)


def _example(vocabulary: Vocabulary, text: str | Rendered, ids: Tensor, found: Sequence[Grid | None]) -> Example:
    """Return an example whose ids have many image tokens where its text has one, with the text's spans and roles."""
    short = tokenise(vocabulary, text).example
    assert short.ids is not None
    known, spans = short.spelled
    origin = [-1] * len(ids)
    matched = SequenceMatcher(None, short.ids.tolist(), ids.tolist(), autojunk=False)
    for block in matched.get_matching_blocks():
        origin[block.b : block.b + block.size] = range(block.a, block.a + block.size)
    at = torch.tensor(origin)
    named = {name: tokens[at] & (at >= 0) for name, tokens in short.named.items()}
    if "template" in named:
        named["template"] = (named["template"] | (at < 0)) & (ids != vocabulary.image)
    places = [spans[place] if place >= 0 else (0, 0) for place in origin]
    return Example(vocabulary, ids, known, places, named, find_pictures(ids, vocabulary.image, found))


def _check_places(processor: Any, texts: Sequence[str], images: Sequence[Sequence[Any]]) -> None:
    mark = getattr(processor, "image_token", None)
    if not isinstance(mark, str):
        return
    for place, (text, own) in enumerate(zip(texts, images, strict=True)):
        if text.count(mark) != len(own):
            raise ValueError(
                f"text {place + 1} of {len(texts)} has {text.count(mark)} places for images ({mark}) and {len(own)} images: "
                "write one where each image goes, or give messages with image content"
            )


def _loaded(image: Any) -> Any:
    if not isinstance(image, str):
        return image
    from transformers.image_utils import load_image

    return load_image(image)


def _size(image: Any) -> tuple[int, int]:
    """Return an image's width and height in pixels."""
    size = getattr(image, "size", None)
    if isinstance(size, tuple) and not torch.is_tensor(image):
        return int(size[0]), int(size[1])
    from transformers.image_utils import get_image_size, infer_channel_dimension_format, to_numpy_array

    array = to_numpy_array(image)
    height, width = get_image_size(array, infer_channel_dimension_format(array))
    return int(width), int(height)
