"""`regard bench`: speed and memory, as ratios to plain and to eager attention."""

import json
from enum import StrEnum
from itertools import count
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from . import _load, _options, _say

if TYPE_CHECKING:
    from ..bench.result import Result, Setting, Spread
    from ..bench.result import Shape as Lines


class Name(StrEnum):
    """The benchmarks there are."""

    core = "core"
    model = "model"
    decode = "decode"


class Shape(StrEnum):
    """Shapes of random models."""

    gpt2 = "gpt2"
    small = "small"


class Dtype(StrEnum):
    """Precisions to compute in."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def bench(
    name: Annotated[
        Name, typer.Argument(help="core: one attention call; model: a forward pass; decode: steps behind a cache.")
    ],
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]", help="model, decode: local folder or hub name; without it, a small demo model or shape."
        ),
    ] = None,
    shape: Annotated[
        Shape | None,
        typer.Option(
            help="model, decode: a GPT-2 with random weights: gpt2 is GPT-2 small, small has 4 layers of 8 heads.",
            show_default="decode: small",
        ),
    ] = None,
    length: Annotated[
        list[int] | None,
        typer.Option(
            min=8,
            help="Tokens; of the prompt in decode; give several.",
            show_default="core: 1024 and 4096; model: 128 and 512; --shape: 2048; decode: 64",
        ),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Sequences that run together.", show_default="1; model without --shape: 8")
    ] = None,
    heads: Annotated[int | None, typer.Option(min=1, help="core: heads.", show_default="8")] = None,
    dim: Annotated[int | None, typer.Option(min=1, help="core: width of a head.", show_default="64")] = None,
    causal: Annotated[
        bool | None,
        typer.Option("--causal/--full", help="core: whether queries see later keys.", show_default="causal"),
    ] = None,
    dtype: Annotated[Dtype, typer.Option(help="Precision.")] = Dtype.float32,
    device: _options.Device = None,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="as many as cores")] = None,
    runs: Annotated[
        int | None, typer.Option(min=7, help="Timed runs of each line.", show_default="11; decode: 400 steps")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the inputs, and of the order of runs.")] = 0,
    json_out: _options.Json = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Check attention against a dense computation, then time it beside plain and eager attention."""
    if name is Name.core and (model is not None or shape is not None):
        raise typer.BadParameter("core takes no model", param_hint="MODEL, --shape")
    if name is not Name.core and (heads or dim or causal is not None):
        raise typer.BadParameter("a model has heads and a mask of its own", param_hint="--heads, --dim, --causal")
    if model is not None and shape is not None:
        raise typer.BadParameter("give a model or a shape, not both", param_hint="--shape")
    import torch

    from ..bench.result import Setting
    from ..report.files import check_writable, write_atomic

    if name is Name.decode and model is None:
        shape = shape or Shape.small
    place = str(_load._device(torch, device))
    runs = runs or (400 if name is Name.decode else 11)
    setting = Setting(dtype.value, place, threads or torch.get_num_threads(), runs, seed)
    lengths = length or {Name.core: [1024, 4096], Name.decode: [64]}.get(name) or ([2048] if shape else [128, 512])
    rounds = count(1)
    try:
        if json_out:
            check_writable(json_out)
        with _say.bar("timing", len(lengths) * (setting.warm_up + runs), quiet) as progress:

            def tick() -> None:
                progress(next(rounds))

            if name is Name.core:
                from ..bench import core

                sizes = [core.Size(one, heads or 8, dim or 64, batch or 1, causal is not False) for one in lengths]
                result = core.run(sizes, setting, tick)
            else:
                from ..bench import decode
                from ..bench import model as forward

                longest = max(lengths) + (decode.UNTIMED + setting.warm_up + runs if name is Name.decode else 0)
                title, loaded, tokenizer = _subject(model, shape, longest, setting)
                if name is Name.decode:
                    result = decode.run(loaded, lengths, batch or 1, setting, tick, title)
                else:
                    together = batch or (1 if shape else 8)
                    result = forward.run(loaded, tokenizer, _load.sample(), lengths, together, setting, tick, title)
        if json_out:
            write_atomic(json_out, json.dumps(result.to_json(), allow_nan=False) + "\n")
    except (OSError, ValueError) as error:
        _say.fail(error)
    _tell(result)
    if json_out:
        typer.echo(json_out)


def _subject(model: str | None, shape: Shape | None, longest: int, setting: "Setting") -> tuple[str, Any, Any]:
    """The name of what is timed, the model, and its tokenizer; None for random weights."""
    if shape:
        import torch

        from ..bench.shapes import build

        dtype = getattr(torch, setting.dtype)
        return f"{shape.value}, random weights", build(shape.value, longest, dtype, setting.device, setting.seed), None
    title, folder = (model, model) if model else _load.demo_model()
    how = {"revision": None, "dtype": setting.dtype, "device": setting.device, "trust_remote_code": False}
    loaded, tokenizer = _load.load(folder, **how)  # type: ignore[arg-type]
    return title, loaded, tokenizer


def _tell(result: "Result") -> None:
    """Print a table per shape."""
    how = result.setting
    _say.say(f"{result.subject}, {how.dtype}, {result.machine['device']}, {how.threads} threads", "bold")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 100  # nothing is wrapped in a file
    for shape in result.shapes:
        _say.say("")
        console.print(_table(shape))
        if shape.busy:
            _say.say(f"busy machine, these ratios mean little: {shape.preempted:.0f} preemptions a second", "bold red")
    packages = ", ".join(f"{package} {number}" for package, number in result.versions.items())
    _say.say(f"\nmedian [quartiles] of {how.runs} interleaved runs; memory on top of the inputs; {packages}")


def _table(shape: "Lines") -> Table:
    """The lines of one shape."""
    title = ", ".join(f"{name} {size}" for name, size in shape.shape.items())
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("what", no_wrap=True)
    table.add_column("how", no_wrap=True)
    for title in ("ms", "/ plain", "/ eager", "peak MB", "off by"):
        table.add_column(title, justify="right", no_wrap=True)
    for line in shape.lines:
        off = "" if line.deviation is None else f"{line.deviation:.0e}"
        table.add_row(
            line.quantity,
            line.path,
            f"{line.seconds.median * 1e3:.3g}",
            _ratio(line.to_plain),
            f"{line.to_eager.median:.2f}" if line.to_eager else "",
            f"{line.peak_bytes / 1e6:.1f}",
            off,
        )
    return table


def _ratio(ratio: "Spread") -> str:
    return f"{ratio.median:.2f} [{ratio.q1:.2f}, {ratio.q3:.2f}]"
