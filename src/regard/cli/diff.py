"""`regard diff`: what two models, or one with and without edits, attend to differently, as a page."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import _load, _options, _say

if TYPE_CHECKING:
    from ..report.data import Scan


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="Local folder or hub name.")],
    second: Annotated[
        str | None,
        typer.Argument(metavar="[B]", help="Another model or checkpoint; without it, A with --edit or --adapter."),
    ] = None,
    edit: Annotated[
        Path | None,
        typer.Option("--edit", metavar="FILE", help="Edits of the second, as regard.save_edits writes them."),
    ] = None,
    text: _options.Texts = None,
    messages: _options.Messages = None,
    data: _options.Data = None,
    images: _options.Images = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The report to write.")] = Path("regard-diff.html"),
    json_out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write both scans, too.")] = None,
    max_tokens: _options.MaxTokens = None,
    batch_size: _options.BatchSize = 8,
    dtype: _options.Precision = _load.Dtype.auto,
    device: _options.Device = None,
    device_map: _options.DeviceMap = None,
    adapter: Annotated[
        str | None, typer.Option(metavar="ADAPTER", help="A PEFT adapter of the second: local folder or hub name.")
    ] = None,
    load_in_4bit: _options.FourBit = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of A on the hub.")] = None,
    revision_b: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of B on the hub.", show_default="that of A")
    ] = None,
    trust_remote_code: _options.RemoteCode = False,
    quiet: _options.Quiet = False,
) -> None:
    """Measure two models on the same inputs, or one with and without edits or an adapter, and write what differs."""
    if second is None and edit is None and revision_b is None and adapter is None:
        raise typer.BadParameter("give a second model, --revision-b, --adapter or --edit", param_hint="B")
    if json_out and json_out.resolve() == out.resolve():
        raise typer.BadParameter("the report and the numbers need two files", param_hint="--json")
    from ..report.files import check_writable, write_atomic

    try:
        for path in (out, json_out):
            if path:
                check_writable(path)
        texts, pictures = _load.given(text or [], messages or [], data or [], images, first)
        given = (texts, None) if texts else (None, pictures)
        how = _load.Options(
            revision,
            dtype.value,
            device,
            device_map,
            trust_remote_code=trust_remote_code,
            load_in_4bit=load_in_4bit,
            whole=adapter is not None,  # an adapted model is, and both sides are to have the same modules
        )
        other = replace(how, revision=revision_b or revision, adapter=adapter)
        sides = [(first, how, ()), (second or first, other, _edits(edit))]
        scans: list[Scan] = []
        loaded: Any = None
        for place, (name, options, edits) in enumerate(sides):
            if loaded is None or (name, options) != sides[place - 1][:2]:
                loaded = None  # two large models may not fit at once
                with _say.waiting(f"loading {name}", quiet):
                    loaded = _load.load_any(name, options)
            scans.append(_scan(loaded, given, name, options.revision, edits, max_tokens, batch_size, quiet))
        from ..report.diff import to_json
        from ..report.diff_page import page

        names = _names(first, second, revision, revision_b, [adapter, edit])
        before, after = scans
        page(before, after, names).save(out)
        if json_out:
            write_atomic(
                json_out, json.dumps(to_json(before, after, names), ensure_ascii=False, allow_nan=False) + "\n"
            )
    except (OSError, ValueError, TypeError, MemoryError) as error:
        _say.fail(error)
    _tell(scans, names, [path for path in (out, json_out) if path], quiet)
    if not all(one.trusted for one in scans):
        _say.fail("the spot check failed, do not rely on these results")


def _edits(path: Path | None) -> tuple[Any, ...]:
    if path is None:
        return ()
    from ..edit import load_edits

    try:
        return tuple(load_edits(path))
    except OSError as error:
        raise OSError(f"cannot read {path}: {error.strerror or error}") from error


def _scan(
    loaded: tuple[Any, Any],
    given: tuple[Any, Any],
    name: str,
    revision: str | None,
    edits: tuple[Any, ...],
    max_tokens: int | None,
    batch_size: int,
    quiet: bool,
) -> "Scan":
    from ..report import scan as report

    texts, images = given
    with _say.bar(f"measuring {name}", 1, quiet) as progress:
        return report.scan(
            *loaded,
            texts,
            images=images,
            max_tokens=max_tokens,
            batch_size=batch_size,
            name=name,
            revision=revision,
            edits=edits,
            progress=progress,
        )


def _names(
    first: str, second: str | None, revision: str | None, revision_b: str | None, changes: list[str | Path | None]
) -> tuple[str, str]:
    """Return what stands for both sides, told apart."""
    one, other = _short(first), _short(second or first)
    if one == other and second not in (None, first):
        one, other = first, second or first
    if revision_b:
        one, other = f"{one} at {revision or 'main'}", f"{other} at {revision_b}"
    told = " and ".join(Path(change).name for change in changes if change)
    if told:
        other = f"{other} with {told}"
    return (one, other) if one != other else (f"{one} (first)", f"{other} (second)")


def _short(name: str) -> str:
    """Return the name of a folder without the way to it, and a hub name as it is."""
    return Path(name).resolve().name if Path(name).is_dir() else name


def _tell(scans: "list[Scan]", names: tuple[str, str], written: list[Path], quiet: bool) -> None:
    if not quiet:
        from ..report.diff_page import told

        _say.say(f"{names[0]} and {names[1]}", "bold")
        for finding in told(scans[0], scans[1], names):
            _say.say("")
            _say.say(finding.sentence.replace("`", ""), "bold")
            _say.say(finding.detail.replace("`", ""))
        _say.say("")
    for path in written:
        typer.echo(path)
