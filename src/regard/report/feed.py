"""What a scan feeds to a model: texts, conversations or images, encoded a few at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch

from ..lens import Lens
from ..lens.inputs import Inputs
from ..segments import Segmentation
from ..segments.chat import images_of, is_conversation

Unit = Literal["text", "conversation", "image"]
QUESTION = "What is in this image?"
PADDED = 1 << 13  # tokens, padding included, that run together


@dataclass(frozen=True)
class Item:
    """One text or conversation with its images, or images alone."""

    given: Any
    images: Sequence[Any] = ()


@dataclass(frozen=True)
class Feed:
    """Examples by their number: `encode` makes model inputs of some, and `pictures` holds the images of each."""

    encode: Callable[[Sequence[int]], Inputs]
    pictures: Sequence[Sequence[Any]]
    unit: Unit
    batch_size: int

    def __len__(self) -> int:
        return len(self.pictures)

    def sees(self, place: int) -> bool:
        """Say whether an example has an image."""
        return bool(self.pictures[place]) or "pixel_values" in self.encode([place])

    @cached_property
    def facts(self) -> list[tuple[int, int, str]]:
        """Of each example the number of tokens, how many were cut, and the first token; "" for images alone."""
        found = []
        for place in range(len(self)):
            if self.unit == "image":
                found.append((0, 0, ""))
                continue
            x = self.encode([place])
            kept = [token for token, real in zip(x.tokens[0], x.valid[0].tolist(), strict=True) if real]
            found.append((len(kept), x.truncated[0], kept[0]))
        return found

    def batches(self) -> Iterator[Inputs]:
        """All examples, those of like length together, so that a long text does not stretch short ones."""
        order = sorted(range(len(self)), key=lambda place: self.facts[place][0])
        batch: list[int] = []
        for place in order:
            padded = (len(batch) + 1) * self.facts[place][0]
            mixed = any(self.pictures[one] for one in [*batch, place]) and self.unit != "image"
            if batch and (len(batch) == self.batch_size or padded > PADDED or mixed):
                yield self.encode(batch)
                batch = []
            batch.append(place)
        yield self.encode(batch)


def feed(lens: Lens, given: Any, images: Any, limit: int | None, batch_size: int) -> Feed:
    """Return a feed of what a user gave: texts, conversations, images, or inputs that are ready.

    Images without text are seen with `QUESTION` by models that read. Raises ValueError for nothing, and for models of sound.
    """
    takes = getattr(lens.model, "main_input_name", "input_ids")
    if takes not in ("input_ids", "pixel_values"):
        raise ValueError(
            f"{type(lens.model).__name__} takes {takes}, and only models of text and images can be scanned"
        )
    if isinstance(given, Mapping) and "role" not in given:
        return _ready(lens, given, batch_size)
    items = _items(given, images)
    if not items:
        raise ValueError("there is nothing to measure: give texts, conversations or images")
    reads = hasattr(getattr(lens.processor, "tokenizer", lens.processor), "all_special_ids")
    if not reads and any(item.given is not None for item in items):
        raise ValueError(
            f"{type(lens.model).__name__} takes images and no text, as far as its processor tells: give it images"
        )
    if any(item.images for item in items) and reads and not hasattr(lens.processor, "image_processor"):
        raise ValueError(
            f"{type(lens.model).__name__} takes no images, as far as its {type(lens.processor).__name__} tells"
        )
    if reads:
        items = [_asked(lens, item) for item in items]
    unit: Unit = "image" if not reads else "conversation" if any(is_conversation(i.given) for i in items) else "text"

    pictures = [list(i.images) or (images_of(i.given) if is_conversation(i.given) else []) for i in items]

    def encode(places: Sequence[int]) -> Inputs:
        chosen = [items[place] for place in places]
        if not reads:
            return lens.encode(images=[image for item in chosen for image in item.images])
        beside = [list(item.images) for item in chosen] if any(item.images for item in chosen) else None
        cut = None if any(pictures[place] for place in places) else limit  # images are never cut
        return _answered(lens, lens.encode([item.given for item in chosen], cut, images=beside))

    return Feed(encode, pictures, unit, batch_size)


def _items(given: Any, images: Any) -> list[Item]:
    if given is None:
        return [Item(None, [image]) for image in _several(images)]
    if isinstance(given, str) or is_conversation(given):
        return [Item(given, _several(images))]
    own = [()] * len(given) if images is None else list(images)
    if len(own) != len(given):
        raise ValueError(f"give images for each of the {len(given)} texts: a list of as many, each an image or a list")
    return [Item(one, _several(beside)) for one, beside in zip(given, own, strict=True)]


def _several(images: Any) -> list[Any]:
    return [] if images is None else list(images) if isinstance(images, list | tuple) else [images]


def _asked(lens: Lens, item: Item) -> Item:
    """The item with the question in place of a missing text, and with a place for each image."""
    if item.given is not None:
        return item
    processor: Any = lens.processor
    if getattr(processor, "chat_template", None) is not None:
        content = [{"type": "image", "image": image} for image in item.images]
        return Item([{"role": "user", "content": [*content, {"type": "text", "text": QUESTION}]}])
    mark = getattr(processor, "image_token", None)
    return Item(f"{mark * len(item.images)}\n{QUESTION}" if isinstance(mark, str) else QUESTION, item.images)


def _answered(lens: Lens, x: Inputs) -> Inputs:
    """The inputs, for an encoder-decoder with the text itself as what the decoder has written so far, after a start token."""
    config: Any = getattr(lens.model, "config", None)
    if not getattr(config, "is_encoder_decoder", False):
        return x
    start = next(
        token
        for token in (getattr(config, f"{name}_token_id", None) for name in ("decoder_start", "bos", "pad", "eos"))
        if token is not None
    )
    ids = x["input_ids"]
    mask = x.valid.to(ids)
    shifted = ids.roll(1, -1)
    shifted[mask.cumsum(-1) * mask == 1] = start  # the first real token of each text
    target = {"decoder_input_ids": shifted, "decoder_attention_mask": mask}
    return Inputs({**x, **target}, x.tokens, x.segments, x.truncated, x.chunks)


def _ready(lens: Lens, given: Mapping[str, Any], batch_size: int) -> Feed:
    """A feed of inputs that are ready; raises ValueError for several examples with images, which cannot be told apart."""
    x = given if isinstance(given, Inputs) else lens.encode(given)
    if "input_ids" in x and not {"decoder_input_ids", "decoder_inputs_embeds", "labels"} & x.keys():
        x = _answered(lens, x)
    count = len(x.tokens)
    unit: Unit = "text" if x.valid.shape[1] else "image"
    if unit == "text" and "pixel_values" in x and count > 1:
        raise ValueError("several examples with images are given as conversations, or one at a time")

    def encode(places: Sequence[int]) -> Inputs:
        if list(places) == list(range(count)):
            return x
        rows = torch.tensor(places)
        keep = slice(None)
        if unit == "text":  # without the padding that only the others need
            real = x.valid[rows].any(0).nonzero().flatten()
            keep = slice(int(real[0]), int(real[-1]) + 1)
        whole = slice(None)  # the target has padding of its own
        inputs = {
            name: _rows(value, rows, whole if name.startswith("decoder_") else keep, x.valid.shape)
            for name, value in x.items()
        }
        tokens = [x.tokens[place][keep] for place in places]
        segments = Segmentation([x.segments.examples[place] for place in places], x.valid[rows][:, keep])
        return Inputs(inputs, tokens, segments, [x.truncated[p] for p in places], [x.chunks[p] for p in places])

    return Feed(encode, [[] for _ in range(count)], unit, batch_size)


def _rows(value: Any, rows: torch.Tensor, keep: slice, shape: torch.Size) -> Any:
    if not torch.is_tensor(value) or not value.ndim or len(value) != shape[0]:
        return value
    chosen = value[rows.to(value.device)]
    return chosen[:, keep] if value.ndim > 1 and value.shape[1] == shape[1] else chosen
