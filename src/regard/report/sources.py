"""Reading what a scan is to measure: texts, conversations and images from files.

Every failure is an OSError or a ValueError of one sentence that names the file, and its line where there is one.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
Conversation = list[dict[str, Any]]


def read_text(source: str) -> str:
    """Return the text of a file in UTF-8, or of standard input for `-`."""
    what = "standard input" if source == "-" else source
    try:
        raw = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise OSError(f"cannot read {what}: {error.strerror or error}") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read {what}: it is not UTF-8 text (byte {error.start})") from error
    if not text.strip():
        raise ValueError(f"cannot measure {what}: it holds no text")
    return text


def read_messages(source: str) -> list[Conversation]:
    """Return the conversations of a file, one a line: a list of messages, or an object with `messages`."""
    found = []
    for number, row in _lines(source):
        messages = row.get("messages") if isinstance(row, dict) else row
        found.append(_conversation(messages, f"{source}, line {number}", Path(source).parent))
    return found


def read_data(source: str) -> list[str | Conversation]:
    """Return what a file holds, a row each: .jsonl and .parquet with `text` or `messages`, and .txt with one text a line."""
    match Path(source).suffix.lower():
        case ".txt":
            return [line for line in read_text(source).splitlines() if line.strip()]
        case ".jsonl":
            rows = [(f"{source}, line {number}", row) for number, row in _lines(source)]
        case ".parquet":
            rows = [(f"{source}, row {number}", row) for number, row in enumerate(_table(source), 1)]
        case suffix:
            raise ValueError(
                f"cannot read {source}: --data takes .jsonl, .parquet and .txt, not {suffix or 'no suffix'}"
            )
    if not rows:
        raise ValueError(f"cannot measure {source}: it holds no rows")
    return [_row(row, where, Path(source).parent) for where, row in rows]


def read_images(folder: str) -> list[str]:
    """Return the paths of the images in a folder, by name."""
    path = Path(folder)
    if not path.is_dir():
        raise OSError(f"cannot read the images of {folder}: there is no such folder")
    found = sorted(str(one) for one in path.iterdir() if one.suffix.lower() in PICTURES)
    if not found:
        raise ValueError(f"cannot measure {folder}: it holds no images ({', '.join(sorted(PICTURES))})")
    return found


def _lines(source: str) -> list[tuple[int, Any]]:
    """The JSON values of a file, one a line, with the numbers of their lines."""
    found = []
    for number, line in enumerate(read_text(source).splitlines(), 1):
        if line.strip():
            try:
                found.append((number, json.loads(line)))
            except json.JSONDecodeError as error:
                raise ValueError(f"cannot read {source}: line {number} is no JSON ({error.msg})") from error
    return found


def _table(source: str) -> list[dict[str, Any]]:
    try:
        import pandas
        import pyarrow  # noqa: F401 pandas reads parquet through it
    except ImportError as error:
        raise ValueError(
            f"cannot read {source}: parquet needs pandas and pyarrow (pip install pandas pyarrow)"
        ) from error
    try:
        frame = pandas.read_parquet(source)
    except (OSError, ValueError) as error:
        raise OSError(f"cannot read {source}: {str(error).splitlines()[0]}") from error
    rows: list[dict[str, Any]] = frame.to_dict("records")
    return rows


def _row(row: Any, where: str, folder: Path) -> str | Conversation:
    """The text or the conversation of a row."""
    if isinstance(row, dict) and row.get("messages") is not None:
        return _conversation(row["messages"], where, folder)
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str):
        there = ", ".join(row) if isinstance(row, dict) else type(row).__name__
        raise ValueError(f"{where}: a row has a field text or messages, and here is {there}")
    if not text.strip():
        raise ValueError(f"{where}: the text is empty")
    return text


def _conversation(messages: Any, where: str, folder: Path) -> Conversation:
    rows = list(messages) if isinstance(messages, Sequence) or hasattr(messages, "tolist") else []
    if not rows or not all(isinstance(one, dict) and "role" in one and "content" in one for one in rows):
        raise ValueError(f"{where}: a conversation is a list of messages with role and content")
    return [dict(message) | {"content": _content(message["content"], folder)} for message in rows]


def _content(content: Any, folder: Path) -> Any:
    """A message's content, with the paths of its images counted from the file that names them."""
    if isinstance(content, str):
        return content
    found = []
    for part in content:
        part = dict(part)
        for key in ("image", "path"):
            if isinstance(part.get(key), str) and (folder / part[key]).is_file():
                part[key] = str(folder / part[key])
        found.append(part)
    return found
