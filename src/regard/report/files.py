"""Writing results so that a file is either whole or absent."""

import os
import tempfile
from pathlib import Path


def check_writable(path: Path) -> None:
    """Raise OSError with one clear sentence if `path` cannot be written later; leaves nothing behind."""
    if path.is_dir():
        raise OSError(f"cannot write {path}: it is a folder")
    parent = path.resolve().parent
    if not parent.is_dir():
        raise OSError(f"cannot write {path}: the folder {parent} does not exist")
    try:
        if _is_special(path):
            path.open("ab").close()
        else:
            tempfile.TemporaryFile(dir=parent).close()
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror or error}") from error


def write_atomic(path: Path, text: str) -> None:
    """Write `text` in UTF-8 beside `path` and move it into place, so that no reader ever sees half of it."""
    if _is_special(path):
        path.write_text(text, encoding="utf-8")
        return
    target = path.resolve()
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def _is_special(path: Path) -> bool:
    """Whether `path` is a device or a pipe, which must be written to and not replaced."""
    return path.exists() and not path.is_file()
