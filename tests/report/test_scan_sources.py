"""Texts, conversations and images are read from files, and what is wrong with a file is said with its name and line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regard.report import sources

CHAT = [{"role": "user", "content": "hello"}]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, *rows: Any) -> str:
    Path(name).write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return name


def test_conversations_are_read_one_a_line() -> None:
    assert sources.read_messages(write("m.jsonl", CHAT, "", {"messages": CHAT})) == [CHAT, CHAT]


def test_data_is_read_by_its_suffix() -> None:
    assert sources.read_data(write("d.txt", "one", "", "two")) == ["one", "two"]
    assert sources.read_data(write("d.jsonl", {"text": "one"}, {"messages": CHAT, "text": None})) == ["one", CHAT]


def test_rows_of_parquet_are_texts_or_conversations(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np
    import pandas

    messages = np.array(CHAT, dtype=object)  # as pyarrow gives lists
    frame = pandas.DataFrame({"text": ["one", None], "messages": [None, messages]})
    monkeypatch.setitem(sys.modules, "pyarrow", object())
    monkeypatch.setattr(pandas, "read_parquet", lambda path: frame)
    assert sources.read_data("d.parquet") == ["one", CHAT]


def test_parquet_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"d\.parquet: parquet needs pandas and pyarrow \(pip install"):
        sources.read_data("d.parquet")


def test_images_are_found_beside_the_file_that_names_them() -> None:
    Path("sub").mkdir()
    Path("sub/a.png").touch()
    Path("sub/notes.md").touch()
    part = {"type": "image", "image": "a.png"}
    (chat,) = sources.read_messages(write("sub/m.jsonl", [{"role": "user", "content": [part]}]))
    assert chat[0]["content"][0]["image"] == "sub/a.png"
    assert sources.read_images("sub") == ["sub/a.png"]


@pytest.mark.parametrize(
    ("read", "name", "rows", "reason"),
    [
        (sources.read_messages, "m.jsonl", ["{"], "cannot read m.jsonl: line 1 is no JSON"),
        (sources.read_messages, "m.jsonl", [CHAT, ["x"]], "m.jsonl, line 2: a conversation is a list of messages"),
        (sources.read_messages, "m.jsonl", [[{"role": "user"}]], "line 1: a conversation is a list of messages"),
        (sources.read_messages, "m.jsonl", [" "], "it holds no text"),
        (
            sources.read_data,
            "d.jsonl",
            [{"text": "a"}, {"body": "b"}],
            "d.jsonl, line 2: a row has a field text or .* body",
        ),
        (sources.read_data, "d.jsonl", [{"text": " "}], "line 1: the text is empty"),
        (sources.read_data, "d.csv", ["a,b"], r"takes .jsonl, .parquet and .txt, not .csv"),
        (sources.read_images, "nowhere", [], "there is no such folder"),
    ],
)
def test_a_broken_file_is_named(read: Callable[[str], Any], name: str, rows: list[Any], reason: str) -> None:
    if rows:
        write(name, *rows)
    with pytest.raises((OSError, ValueError), match=reason):
        read(name)


def test_a_folder_without_images_is_named() -> None:
    Path("empty").mkdir()
    with pytest.raises(ValueError, match=r"cannot measure empty: it holds no images \(\.bmp"):
        sources.read_images("empty")
