"""Conversations as text: what a chat template makes of them, and where each message stands in that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Message = Mapping[str, Any]
_MARK = "\ue0c5\ue1a7\ue2f3"
"""Stands in for a message: letters of the private use area, which no text and no template shares."""


@dataclass(frozen=True)
class Rendered:
    """A conversation as text, and the role of each range of its characters that a message filled."""

    text: str
    roles: list[tuple[str, int, int]]


def is_conversation(given: Any) -> bool:
    """Say whether this is a list of messages, each with a role."""
    return _is_list(given) and bool(given) and all(isinstance(one, Mapping) and "role" in one for one in given)


def images_of(conversation: Sequence[Message]) -> list[Any]:
    """Return the images in the messages, in order: whatever stands under `image`, `url` or `path`."""
    found = []
    for message in conversation:
        for part in _parts(message):
            if part.get("type") == "image":
                found.append(next((part[key] for key in ("image", "url", "path") if key in part), None))
    return found


def render(processor: Any, conversation: Sequence[Message]) -> Rendered:
    """Write a conversation by the processor's chat template, and find each message in it.

    A prompt to answer is added unless the assistant spoke last. A message is found by writing the conversation again with a
    mark in its place, so that this holds for any template: those that trim messages, join the system's to the user's or leave
    earlier thoughts out. Raises ValueError where there is no template or it refuses the conversation.
    """
    text = _written(processor, conversation)
    roles = []
    for place, message in enumerate(conversation):
        for content, marked in _marked(message):
            other = _written(processor, [*conversation[:place], marked, *conversation[place + 1 :]])
            start, end = _difference(text, other)
            if start < end:
                roles.append((str(message["role"]), *_narrowed(text, start, end, content)))
    return Rendered(text, roles)


def _marked(message: Message) -> list[tuple[str, Message]]:
    """Return each text of a message, and the message with a mark in place of that text."""
    content = message.get("content")
    if isinstance(content, str):
        return [(content, {**message, "content": _MARK})]
    parts = _parts(message)
    return [
        (part["text"], {**message, "content": [*parts[:at], {**part, "text": _MARK}, *parts[at + 1 :]]})
        for at, part in enumerate(parts)
        if part.get("type") == "text"
    ]


def _parts(message: Message) -> Sequence[Mapping[str, Any]]:
    """Return the parts of a message that has several, text and images."""
    content = message.get("content")
    return content if isinstance(content, Sequence) and not isinstance(content, str) else ()


def _written(processor: Any, conversation: Sequence[Message]) -> str:
    if getattr(processor, "chat_template", None) is None:
        raise ValueError(
            f"{type(processor).__name__} has no chat template to write messages by: give text, or set its chat_template"
        )
    from jinja2 import TemplateError

    try:
        return str(
            processor.apply_chat_template(
                list(conversation), tokenize=False, add_generation_prompt=conversation[-1]["role"] != "assistant"
            )
        )
    except (TemplateError, TypeError, KeyError) as error:
        raise ValueError(f"the chat template refuses this conversation: {error}") from error


def _difference(text: str, other: str) -> tuple[int, int]:
    """Return the range of characters in which a text differs from another."""
    start = _shared(text, other)
    return start, len(text) - _shared(text[start:][::-1], other[start:][::-1])


def _shared(text: str, other: str) -> int:
    """Return with how many characters both begin."""
    return next((at for at, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))


def _narrowed(text: str, start: int, end: int, content: str) -> tuple[int, int]:
    """Return where a message stands in a range, where the template has changed more than it; else the range."""
    bare = content.strip()
    at = text.find(bare, start, end) if bare and text[start:end].strip() != bare else -1
    return (at, at + len(bare)) if at >= 0 else (start, end)


def _is_list(given: Any) -> bool:
    return isinstance(given, Sequence) and not isinstance(given, (str, bytes))
