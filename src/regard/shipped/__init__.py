"""The small models that come with the library, each a folder that `regard papers train NAME` wrote."""

from pathlib import Path

_HERE = Path(__file__).parent


def names() -> list[str]:
    """Return the names of the models that are here, sorted."""
    return sorted(file.parent.name for file in _HERE.glob("*/recipe.json"))


def folder(name: str) -> Path:
    """Return the folder of a model, for any `from_pretrained`; raises ValueError, with the names there are, for another name.

    >>> from transformers import AutoModelForCausalLM, AutoTokenizer
    >>> model, tokenizer = (kind.from_pretrained(folder("tiny-lm")) for kind in (AutoModelForCausalLM, AutoTokenizer))
    """
    if name not in names():
        raise ValueError(f"no model {name!r} comes with regard; there are: {', '.join(names())}")
    return _HERE / name


def texts(name: str) -> list[str]:
    """Return texts in the language of a model, none for one that comes without."""
    file = folder(name) / "sample.txt"
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def images(name: str) -> Path | None:
    """Return the folder of pictures that a model understands, None for one that comes without."""
    found = folder(name) / "sample"
    return found if found.is_dir() else None
