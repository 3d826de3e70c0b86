"""`regard scan`: what a model's attention does, as a page."""

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import _load, _options, _say

if TYPE_CHECKING:
    from ..report.data import Check, Finding, Scan


def _print_schema(wanted: bool) -> None:
    """Print the schema of the JSON output and end."""
    if wanted:
        from ..report.schema import schema

        typer.echo(json.dumps(schema(), indent=1, ensure_ascii=False))
        raise typer.Exit


def scan(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]", help="Local folder, hub name, or a model that comes with regard; without it, tiny-lm."
        ),
    ] = None,
    text: _options.Texts = None,
    messages: _options.Messages = None,
    data: _options.Data = None,
    images: _options.Images = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The report to write.")] = Path("regard-report.html"),
    json_out: _options.Json = None,
    schema: Annotated[
        bool,
        typer.Option("--schema", callback=_print_schema, is_eager=True, help="Print the schema of --json and end."),
    ] = False,
    redact: Annotated[
        bool, typer.Option("--redact", help="Leave texts, tokens and images out of what is written.")
    ] = False,
    no_doctor: Annotated[
        bool, typer.Option("--no-doctor", help="Measure without examining the model first, in brief.")
    ] = False,
    max_tokens: _options.MaxTokens = None,
    batch_size: _options.BatchSize = 8,
    dtype: _options.Precision = _load.Dtype.auto,
    device: _options.Device = None,
    device_map: _options.DeviceMap = None,
    adapter: _options.Adapter = None,
    load_in_4bit: _options.FourBit = False,
    revision: _options.Revision = None,
    trust_remote_code: _options.RemoteCode = False,
    quiet: _options.Quiet = False,
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
        name = model or _load.DEFAULT
        texts, pictures = _load.given(sources, messages or [], data or [], images, name)
        with _say.waiting("loading the model", quiet):
            loaded, processor = _load.load_any(name, options)
        from ..report import scan as report

        given, beside = (texts, None) if texts or not pictures else (None, pictures)
        with _say.bar("measuring", 1, quiet) as progress:
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
                doctor=not no_doctor,
                told=_alarm,
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
    if not result.exact:
        _say.fail(f"the spot check failed: worst deviation {result.deviation:.1e}, do not rely on these results")
    if result.failed:
        names = ", ".join(check.name for check in result.failed)
        _say.fail(f"the doctor's checks failed: {names}; do not rely on these results")


def _alarm(checks: "list[Check]") -> None:
    """Say on stderr which checks failed, while there is time to stop."""
    for check in checks:
        if check.verdict == "failed":
            typer.echo(f"regard: doctor: FAILED: {check.name}: {check.sentence}", err=True)


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
        from ..report.words import doctor, scope

        heads = f"{result.model.architecture}, {result.model.dtype}"
        _say.say(f"{result.model.name} ({heads}), {scope(result.texts, result.unit)}, {result.tokens} tokens", "bold")
        for check in result.failed:
            _say.say(f"FAILED, do not rely on these results: {check.name}: {check.sentence}", "bold red")
        for place, finding in enumerate(_headlines(result), 1):
            _say.say("")
            _say.say(f"{place}. {finding.sentence.replace('`', '')}", "bold")
            _say.say(finding.detail.replace("`", ""))
        peak = f"; peak memory {result.peak_bytes / 1e9:.1f} GB" if result.peak_bytes else ""
        _say.say(f"\nspot check: worst deviation {result.deviation:.1e}; {result.seconds:.1f} s{peak}")
        if result.checks:
            _say.say(doctor(result.checks), "bold red" if result.failed else "")
        for note in result.notes:
            _say.say(f"note: {note}")
        _say.say("")
    for path in written:
        typer.echo(path)
