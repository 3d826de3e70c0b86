"""`regard diff`: what two models, or one with and without edits, attend to differently, as a page."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import _load, _say

if TYPE_CHECKING:
    from ..report.data import Scan


def diff(
    first: Annotated[str, typer.Argument(metavar="A", help="Local folder or hub name.")],
    second: Annotated[
        str | None, typer.Argument(metavar="[B]", help="Another model or checkpoint; without it, A with --edit.")
    ] = None,
    edit: Annotated[
        Path | None,
        typer.Option("--edit", metavar="FILE", help="Edits of the second, as regard.save_edits writes them."),
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
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", metavar="FILE", help=".jsonl or .parquet with text or messages; .txt, one text a line."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The report to write.")] = Path("regard-diff.html"),
    json_out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write both scans, too.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=2, help="Cut longer texts.", show_default="what the models can take")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Texts that run together, at most.")] = 8,
    dtype: Annotated[_load.Dtype, typer.Option(help="Precision to load the models in.")] = _load.Dtype.auto,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...", show_default="cuda if there is one")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of A on the hub.")] = None,
    revision_b: Annotated[
        str | None, typer.Option(help="Branch, tag or commit of B on the hub.", show_default="that of A")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Let the models' own code run.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the paths of what was written.")] = False,
) -> None:
    """Measure two models on the same texts, or one with and without edits, and write what differs."""
    if second is None and edit is None and revision_b is None:
        raise typer.BadParameter("give a second model, --revision-b, or --edit", param_hint="B")
    if json_out and json_out.resolve() == out.resolve():
        raise typer.BadParameter("the report and the numbers need two files", param_hint="--json")
    from ..report.files import check_writable, write_atomic

    try:
        for path in (out, json_out):
            if path:
                check_writable(path)
        texts, _ = _load.given(text or [], [], data or [], None)
        edits = _edits(edit)
        sides = [(first, revision, ()), (second or first, revision_b or revision, edits)]
        scans: list[Scan] = []
        loaded: Any = None
        for place, (name, wanted, own) in enumerate(sides):
            if loaded is None or (name, wanted) != sides[place - 1][:2]:
                options = _load.Options(wanted, dtype.value, device, trust_remote_code=trust_remote_code)
                with _say.waiting(f"loading {name}", quiet):
                    loaded = _load.load_any(name, options)
            model, processor = loaded
            scans.append(_scan(model, processor, texts, name, wanted, own, max_tokens, batch_size, quiet))
        from ..report.diff import to_json
        from ..report.diff_page import page

        names = _names(first, second, edit, revision, revision_b)
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
    model: Any,
    processor: Any,
    texts: list[Any],
    name: str,
    revision: str | None,
    edits: tuple[Any, ...],
    max_tokens: int | None,
    batch_size: int,
    quiet: bool,
) -> "Scan":
    from ..report import scan as report

    with _say.bar(f"measuring {name}", len(texts), quiet) as progress:
        return report.scan(
            model,
            processor,
            texts,
            max_tokens=max_tokens,
            batch_size=batch_size,
            name=name,
            revision=revision,
            edits=edits,
            progress=progress,
        )


def _names(
    first: str, second: str | None, edit: Path | None, revision: str | None, revision_b: str | None
) -> tuple[str, str]:
    """Return what stands for both sides, told apart."""
    one, other = _short(first), _short(second or first)
    if one == other and second not in (None, first):
        one, other = first, second or first
    if revision_b:
        one, other = f"{one} at {revision or 'main'}", f"{other} at {revision_b}"
    if edit:
        other = f"{other} with {edit.name}"
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
