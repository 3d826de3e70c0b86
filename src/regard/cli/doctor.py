"""`regard doctor`: can this model be measured and edited exactly."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from . import _load, _options, _say

if TYPE_CHECKING:
    from ..lens import Lens


def doctor(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]", help="Local folder, hub name, or a model that comes with regard; without it, tiny-lm."
        ),
    ] = None,
    known: Annotated[
        bool, typer.Option("--known", help="Measure what papers report of this model, beside what they report.")
    ] = False,
    json_out: _options.Json = None,
    dtype: _options.Precision = _load.Dtype.auto,
    device: _options.Device = None,
    device_map: _options.DeviceMap = None,
    adapter: _options.Adapter = None,
    load_in_4bit: _options.FourBit = False,
    revision: _options.Revision = None,
    trust_remote_code: _options.RemoteCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but failures.")] = False,
) -> None:
    """Check that this model can be measured and edited exactly; exit code 1 if a check fails."""
    options = _load.Options(
        revision, dtype.value, device, device_map, adapter, trust_remote_code, load_in_4bit=load_in_4bit, whole=True
    )
    from ..report.files import check_writable, write_atomic

    try:
        if json_out:
            check_writable(json_out)
        with _say.waiting("loading the model", quiet):
            loaded, processor = _load.load_any(model or _load.DEFAULT, options)
            from ..lens import attach

            lens = attach(loaded, processor, check=False)  # the checks say more than the first of them that fails
        title, table, failed, found = _known(lens, quiet) if known else _checked(lens, quiet)
        if json_out:
            write_atomic(json_out, json.dumps(found, ensure_ascii=False, allow_nan=False) + "\n")
    except (OSError, ValueError, TypeError, MemoryError) as error:
        _say.fail(error)
    if not quiet:
        _say.say(title, "bold")
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = 160  # sentences are long, and a file has no edge
        console.print(table)
    if failed:
        _say.fail(f"failed: {', '.join(failed)}")


Told = tuple[str, Table, list[str], dict[str, Any]]
"""A title, a table, the names of what failed, and all of it as JSON values."""


def _checked(lens: "Lens", quiet: bool) -> Told:
    from ..doctor import examine, table
    from ..doctor.examination import CHECKS

    with _say.bar("checking", len(CHECKS), quiet) as progress:
        found = examine(lens, progress=progress)
    failed = [finding.name for finding in found.findings if finding.verdict == "failed"]
    return table.head(found), table.findings(found), failed, found.to_json()


def _known(lens: "Lens", quiet: bool) -> Told:
    from ..doctor import ask, known, table

    facts = known.about(lens.model)
    if not facts:
        there = ", ".join(dict.fromkeys(fact.model for fact in known.facts()))
        raise typer.BadParameter(f"nothing is known of this model; something is of {there}", param_hint="--known")
    with _say.bar("asking", len(facts), quiet) as progress:
        answers = ask(lens, facts, progress)
    failed = [answer.name for answer in answers if answer.verdict == "failed"]
    models = ", ".join(dict.fromkeys(answer.model for answer in answers))
    return f"what is known of {models}", table.answers(answers), failed, known.to_json(answers)
