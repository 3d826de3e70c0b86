"""`regard scan`: what a model's attention does, as a page."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import _load, _say

if TYPE_CHECKING:
    from ..report.data import Scan


class Dtype(StrEnum):
    """Precisions to load a model in; `auto` is the one it was saved in."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


def scan(
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help="Local folder or hub name; without it, a small demo model."),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            metavar="FILE",
            help="A file is one text; '-' is standard input; give several.",
            show_default="a built-in sample",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The report to write.")] = Path("regard-report.html"),
    json_out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers, too.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=2, help="Cut longer texts.", show_default="what the model can take")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts that run together.")] = 8,
    dtype: Annotated[Dtype, typer.Option(help="Precision to load the model in.")] = Dtype.auto,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...", show_default="cuda if there is one")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let the model's own code run.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the paths of what was written.")] = False,
) -> None:
    """Measure what a model attends to, and write a report."""
    sources = text or []
    if sources.count("-") > 1:
        raise typer.BadParameter("standard input can be read only once", param_hint="--text")
    if json_out and json_out.resolve() == out.resolve():
        raise typer.BadParameter("the report and the numbers need two files", param_hint="--json")
    from ..report.files import check_writable, write_atomic

    try:
        for path in (out, json_out):
            if path:
                check_writable(path)
        name, folder = (model, model) if model else _load.demo_model()
        texts = [_load.read_text(source) for source in sources] or _sample()
        loaded, tokenizer = _load.load(
            folder, revision=revision, dtype=dtype.value, device=device, trust_remote_code=trust_remote_code
        )
        from ..report import scan as report

        with _say.bar("measuring", len(texts), quiet) as progress:
            result = report.scan(
                loaded,
                tokenizer,
                texts,
                max_tokens=max_tokens,
                batch_size=batch_size,
                name=name,
                revision=revision,
                progress=progress,
            )
        from ..report.scan_page import page

        page(result).save(out)
        if json_out:
            write_atomic(json_out, json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False) + "\n")
    except (OSError, ValueError) as error:
        _say.fail(error)
    _tell(result, [path for path in (out, json_out) if path], quiet)
    if not result.trusted:
        _say.fail(f"the spot check failed: worst deviation {result.deviation:.1e}, do not rely on these results")


def _sample() -> list[str]:
    """The built-in texts, one per line."""
    from importlib.resources import files

    return files("regard.report").joinpath("sample.txt").read_text(encoding="utf-8").splitlines()


def _tell(result: "Scan", written: list[Path], quiet: bool) -> None:
    """Print the findings and what was written."""
    if not quiet:
        from ..report.words import scope

        heads = f"{result.model.architecture}, {result.model.dtype}"
        _say.say(f"{result.model.name} ({heads}), {scope(len(result.texts))}, {result.tokens} tokens", "bold")
        for place, finding in enumerate(result.findings, 1):
            _say.say("")
            _say.say(f"{place}. {finding.sentence.replace('`', '')}", "bold")
            _say.say(finding.detail.replace("`", ""))
        _say.say(f"\nspot check: worst deviation {result.deviation:.1e}; {result.seconds:.1f} s\n")
    for path in written:
        typer.echo(path)
