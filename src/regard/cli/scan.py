"""`regard scan`: what a model's attention does, as a page."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import _load, _say

if TYPE_CHECKING:
    from ..report.data import Finding, Scan


def _print_schema(wanted: bool) -> None:
    """Print the schema of the JSON output and end."""
    if wanted:
        from ..report.schema import schema

        typer.echo(json.dumps(schema(), indent=1, ensure_ascii=False))
        raise typer.Exit


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
    messages: Annotated[
        list[Path] | None,
        typer.Option("--messages", metavar="FILE", help="Conversations, one a line, as JSON lists of messages."),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", metavar="FILE", help=".jsonl or .parquet with text or messages; .txt, one text a line."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Images, for models that see; those that read are asked about each."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The report to write.")] = Path("regard-report.html"),
    json_out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the numbers, too.")] = None,
    schema: Annotated[
        bool,
        typer.Option("--schema", callback=_print_schema, is_eager=True, help="Print the schema of --json and end."),
    ] = False,
    redact: Annotated[
        bool, typer.Option("--redact", help="Leave texts, tokens and images out of what is written.")
    ] = False,
    max_tokens: Annotated[
        int | None, typer.Option(min=2, help="Cut longer texts.", show_default="what the model can take")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts that run together, at most.")] = 8,
    dtype: Annotated[_load.Dtype, typer.Option(help="Precision to load the model in.")] = _load.Dtype.auto,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...", show_default="cuda if there is one")] = None,
    device_map: Annotated[
        str | None, typer.Option(metavar="MAP", help="auto, balanced, ...: spread the model over devices.")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(metavar="ADAPTER", help="A PEFT adapter: local folder or hub name.")
    ] = None,
    load_in_4bit: Annotated[bool, typer.Option("--load-in-4bit", help="Quantise the weights while loading.")] = False,
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
    options = _load.Options(
        revision, dtype.value, device, device_map, adapter, trust_remote_code, load_in_4bit=load_in_4bit
    )
    from ..report.files import check_writable, write_atomic

    try:
        for path in (out, json_out):
            if path:
                check_writable(path)
        name, folder = (model, model) if model else _load.demo_model()
        texts, pictures = _load.given(sources, messages or [], data or [], images)
        with _say.waiting("loading the model", quiet):
            loaded, processor = _load.load_any(folder, options)
        from ..report import scan as report

        given, beside = (texts, None) if texts or not pictures else (None, pictures)
        with _say.bar("measuring", len(texts or pictures), quiet) as progress:
            result = report.scan(
                loaded,
                processor,
                given,
                images=beside,
                max_tokens=max_tokens,
                batch_size=batch_size,
                name=name,
                revision=revision,
                command=_command(redact),
                redact=redact,
                progress=progress,
            )
        with _say.waiting("writing the report", quiet):
            from ..report.scan_page import page

            page(result).save(out)
            if json_out:
                write_atomic(json_out, json.dumps(result.to_json(), ensure_ascii=False, allow_nan=False) + "\n")
    except (OSError, ValueError, TypeError, MemoryError) as error:
        _say.fail(error)
    _tell(result, [path for path in (out, json_out) if path], quiet)
    if not result.trusted:
        _say.fail(f"the spot check failed: worst deviation {result.deviation:.1e}, do not rely on these results")


def _command(redact: bool) -> str:
    """The command line as it was typed; of a redacted scan, without the names of what was read."""
    words = ["regard", *sys.argv[1:]]
    hidden = {"--text", "--messages", "--data", "--images"} if redact else set()
    shown = ["..." if before in hidden else word for before, word in zip(["", *words], words, strict=False)]
    shown = [
        f"{word.partition('=')[0]}=..." if word.partition("=")[0] in hidden and "=" in word else word for word in shown
    ]
    return " ".join(word if word == "..." else shlex.quote(word) for word in shown)


def _headlines(result: "Scan") -> list["Finding"]:
    """The findings of the first part, and the first one of each other part."""
    first = {finding.part: finding for finding in reversed(result.findings)}
    return [finding for finding in result.findings if finding.part == 0 or finding is first[finding.part]]


def _tell(result: "Scan", written: list[Path], quiet: bool) -> None:
    """Print the findings and what was written."""
    if not quiet:
        from ..report.words import scope

        heads = f"{result.model.architecture}, {result.model.dtype}"
        _say.say(f"{result.model.name} ({heads}), {scope(result.texts, result.unit)}, {result.tokens} tokens", "bold")
        for place, finding in enumerate(_headlines(result), 1):
            _say.say("")
            _say.say(f"{place}. {finding.sentence.replace('`', '')}", "bold")
            _say.say(finding.detail.replace("`", ""))
        peak = f"; peak memory {result.peak_bytes / 1e9:.1f} GB" if result.peak_bytes else ""
        _say.say(f"\nspot check: worst deviation {result.deviation:.1e}; {result.seconds:.1f} s{peak}")
        for note in result.notes:
            _say.say(f"note: {note}")
        _say.say("")
    for path in written:
        typer.echo(path)
