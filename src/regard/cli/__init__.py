"""The command line: `regard VERB`.

A verb is a module of this package, named like the verb, with a function of that name whose signature typer
reads and whose docstring is the help, or with an application of that name where the verb has verbs of its own.
Modules that start with an underscore are helpers. Verbs import what is heavy when they run.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pkgutil import iter_modules
from typing import Annotated

import typer

app = typer.Typer(
    help="Measure and edit attention in transformers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    """Print the installed version and end."""
    if wanted:
        try:
            typer.echo(f"regard {version('regard')}")
        except PackageNotFoundError:
            typer.echo("regard (not installed)")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """Measure and edit attention in transformers."""


for _module in sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_")):
    _verb = getattr(import_module(f"{__name__}.{_module}"), _module)
    if isinstance(_verb, typer.Typer):
        app.add_typer(_verb, name=_module)
    else:
        app.command(_module)(_verb)
