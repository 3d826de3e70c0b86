"""The processor of models that see pictures of `regard.worlds.Scenes`: pixels, and little English with places for patches."""

from typing import Any

from torch import Tensor

from ..worlds.little_english import tokenizer
from ..worlds.little_english.tokenizer import words

IMAGE = len(words())
"""The id of `<image>`, behind all words."""
_MEAN, _STD = 0.6, 0.3
_CHAT = (
    "<s>{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %} {{ part.text }}{% endif %}"
    "{% endfor %}{% if message.role == 'assistant' %}</s>{% endif %}{% endfor %}"
)


def pixels(images: Tensor) -> Tensor:
    """Return pictures [batch, channel, row, column], from 0 to 1, as the vision tower takes them."""
    return (images - _MEAN) / _STD


def processor(size: int, patch: int) -> Any:
    """Return a LlavaProcessor, which makes of one `<image>` as many as a picture has patches."""
    from transformers import LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil  # the other wants torchvision

    language = tokenizer()
    language.add_special_tokens({"additional_special_tokens": ["<image>"]})
    square = {"height": size, "width": size}
    seeing = CLIPImageProcessorPil(
        size=square, crop_size=square, do_center_crop=False, image_mean=[_MEAN] * 3, image_std=[_STD] * 3
    )
    return LlavaProcessor(
        seeing,
        language,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # the class token, which the strategy drops
        chat_template=_CHAT,
    )
