"""`regard papers`: the papers and their claims: search them, check them, show them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from . import _say

if TYPE_CHECKING:
    from ..papers.cards import Card, Judged, Setting
    from ..papers.cards.results import Result, Standing

    Job = tuple[Card, Setting]

papers = typer.Typer(help="The papers: search them, check their claims, write the gallery.", no_args_is_help=True)

FAILURES = (OSError, ValueError, TypeError, MemoryError, FloatingPointError, ImportError, RuntimeError)
"""What a model, its data or the machine may be to blame for: told in a sentence, without a traceback."""

Slug = Annotated[str, typer.Argument(metavar="SLUG", help="A paper's name, as `regard papers list` gives it.")]
Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="Where results are recorded.")]


@papers.command("list")
def list_(
    query: Annotated[str | None, typer.Argument(metavar="[QUERY]", help="Words to find.", show_default="all")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page of the documents.")] = False,
    results: Results = Path("results"),
) -> None:
    """List papers whose title, family, sentence or claims have the words, with their status and marks."""
    from ..papers.cards import words

    chosen = [one for one in _standings(results) if words.found(one, query or "")]
    if not chosen:
        _say.fail(f"no paper has all words of {query!r}")
    if markdown:
        typer.echo(words.markdown(chosen), nl=False)
        return
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    for title in ("paper", "family", "year", "status", "marks"):
        table.add_column(title, no_wrap=title != "marks")
    table.add_column("title", ratio=1)
    for one in chosen:
        card = one.card
        cells = (card.slug, card.family, str(card.date.year), one.status, words.tally(one.judged), card.title)
        table.add_row(*cells)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 200  # titles are long, and a file has no edge
    console.print(table)


@papers.command()
def show(slug: Slug, results: Results = Path("results")) -> None:
    """Show a paper's card: facts, what it does, claims with their marks, and how to run it on a real model."""
    from ..papers.cards import card
    from ..papers.cards.results import standing

    try:
        one = standing(card(slug), results)
    except (OSError, ValueError) as error:
        _say.fail(error)
    _tell_card(one.card)
    _say.say(f"status: {one.status}")
    _tell_claims(one)


@papers.command()
def check(
    slug: Annotated[str | None, typer.Argument(metavar="[SLUG]", help="The paper; or give --all.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All papers, without those that are recorded already.")] = False,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="With --all: only the I-th of N parts, counted from 1.")
    ] = None,
    ray: Annotated[
        bool,
        typer.Option("--ray", help="With --all: a task for each paper on the Ray cluster of RAY_ADDRESS, or here."),
    ] = False,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds.", show_default="what claims need")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer items and steps: a trial, not a result.")] = False,
    model: Annotated[str | None, typer.Option(help="Local folder or hub name of your own model.")] = None,
    data: Annotated[str | None, typer.Option(metavar="FILE", help="With --model: what it is asked.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    results: Results = Path("results"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the paths of what was written.")] = False,
) -> None:
    """Run the check of a paper's claims and record the result; exit code 2 for a paper that has none yet."""
    if every == (slug is not None):
        raise typer.BadParameter("give a paper or --all", param_hint="SLUG, --all")
    if shard and not every:
        raise typer.BadParameter("it needs --all", param_hint="--shard")
    if ray and not every:
        raise typer.BadParameter("it needs --all", param_hint="--ray")
    if ray and ":" in device:
        raise typer.BadParameter(f"each task has a GPU of its own: {device.split(':')[0]}", param_hint="--device")
    if data and not model:
        raise typer.BadParameter("it needs --model", param_hint="--data")
    part = _part(shard)
    from ..papers.cards import Setting, card, cards

    try:
        chosen = [one for one in cards() if not one.planned][part] if slug is None else [card(slug)]
    except ValueError as error:
        _say.fail(error)
    if slug is not None and chosen[0].planned:
        typer.echo(f"regard: {slug} is planned: it has no check yet", err=True)
        raise typer.Exit(2)
    jobs = []
    for one in chosen:
        setting = Setting(seeds=tuple(range(seeds or one.seeds)), quick=quick, device=device, model=model, data=data)
        jobs.append((one, setting))
    if not every:
        try:
            _check(*jobs[0], results, quiet)
        except FAILURES as error:
            _say.fail(f"{slug}: {error}")
        return
    failed = (_check_on_ray if ray else _check_here)(jobs, results, quiet)
    if not chosen:
        _note("no paper here has a check yet", quiet)
    if failed:
        raise typer.Exit(1)


@papers.command()
def train(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A recipe's name, as an unknown one lists them.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to put the model.", show_default="the recipe's name")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after so many.", show_default="the recipe's")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the path of the model.")] = False,
) -> None:
    """Train a small model again from its recipe; the same command goes on after a kill."""
    from ..training import recipes
    from ..training import train as build

    try:
        with _say.bar("training", steps or recipes.named(name).steps, quiet) as progress:
            folder = build(name, out or Path(name), steps, progress, device)
    except (OSError, ValueError, FloatingPointError) as error:
        _say.fail(error)
    typer.echo(folder)


@papers.command()
def board(
    task: Annotated[str, typer.Argument(metavar="TASK", help="The board's name.")],
    seeds: Annotated[int, typer.Option(min=5, help="How many seeds.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer items and steps: a trial, not a result.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    recorded: Annotated[bool, typer.Option("--recorded", help="Run nothing: print what is recorded.")] = False,
    results: Results = Path("results"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the path of what was written.")] = False,
) -> None:
    """Compare the methods of several papers on one task, with its rivals and baselines, all tuned alike."""
    from ..papers.cards import Setting
    from ..papers.cards import board as boards

    try:
        chosen = boards.named(task)
        if recorded:
            typer.echo(boards.markdown(boards.load(chosen, results)), nl=False)
            return
        minutes = chosen.cost.quick_minutes if quick else chosen.cost.minutes * seeds / 5
        _note(f"{task}: {_cost(minutes, chosen.cost.memory_gb)}", quiet)
        setting = Setting(seeds=tuple(range(seeds)), quick=quick, device=device)
        _one_bar()
        with _say.bar("comparing", 1, quiet) as progress:
            found = boards.run(chosen, setting, progress)
        path = boards.save(found, results)
    except FAILURES as error:
        _say.fail(error)
    if not quiet:
        typer.echo(boards.markdown(found))
    typer.echo(path)


@papers.command()
def gallery(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page.")] = Path("papers.html"),
    results: Results = Path("results"),
) -> None:
    """Write all cards with their claims and marks as one page that needs no network."""
    from ..papers.cards.gallery import page
    from ..report.files import check_writable, write_atomic

    try:
        check_writable(out)
        write_atomic(out, page(_standings(results)))
    except OSError as error:
        _say.fail(error)
    typer.echo(out)


def _part(shard: str | None) -> slice:
    """The cards that a shard takes: every n-th."""
    if shard is None:
        return slice(None)
    which, _, count = shard.partition("/")
    if not (which.isdecimal() and count.isdecimal() and 1 <= int(which) <= int(count)):
        raise typer.BadParameter(f"{shard!r} is not I/N with I from 1 to N", param_hint="--shard")
    return slice(int(which) - 1, None, int(count))


def _standings(results: Path) -> "list[Standing]":
    from ..papers.cards import cards
    from ..papers.cards.results import standing

    try:
        return [standing(card, results) for card in cards()]
    except (OSError, ValueError) as error:
        _say.fail(error)


def _check_here(jobs: "list[Job]", results: Path, quiet: bool) -> list[str]:
    """Check papers one after the other, and return the slugs of those that failed."""
    failed = []
    for card, setting in jobs:
        try:
            if not _recorded(card, setting, results, quiet):
                _check(card, setting, results, quiet)
        except Exception as error:
            failed.append(_failure(card, error))
    return failed


def _check_on_ray(jobs: "list[Job]", results: Path, quiet: bool) -> list[str]:
    """Check papers as tasks of a cluster, record each here as soon as it is done, and return the slugs of those that failed."""
    from ..papers.cards.run import run_named
    from ..training.cluster import spread

    failed, left = [], []
    for card, setting in jobs:
        try:
            if not _recorded(card, setting, results, quiet):
                _prepare(card, setting, results, quiet)
                left.append((card, setting))
        except (OSError, ValueError) as error:
            failed.append(_failure(card, error))
    gpus = int(bool(jobs) and jobs[0][1].device != "cpu")
    try:
        with _say.bar("checking", len(left), quiet) as progress:
            tasks = spread(run_named, [(one.slug, at) for one, at in left], gpus=gpus)
            for done, (index, found) in enumerate(tasks, 1):
                card = left[index][0]
                try:
                    if isinstance(found, Exception):
                        raise found
                    _record(found, card, results, quiet)
                except Exception as error:  # the others go on
                    failed.append(_failure(card, error))
                progress(done)
    except (ImportError, OSError, ValueError) as error:  # no ray, or no cluster
        _say.fail(error)
    return failed


def _failure(card: "Card", error: Exception) -> str:
    """Tell why a paper has no result, and return its slug."""
    typer.echo(f"regard: {card.slug}: {' '.join(str(error).split())}", err=True)
    return card.slug


def _recorded(card: "Card", setting: "Setting", results: Path, quiet: bool) -> bool:
    from ..papers.cards.results import load, place

    path = place(card.slug, setting, results)
    if not (path.exists() and load(path).answers(card, setting)):
        return False
    _note(f"{card.slug}: recorded already", quiet)
    return True


def _check(card: "Card", setting: "Setting", results: Path, quiet: bool) -> None:
    from ..papers.cards.run import run

    _prepare(card, setting, results, quiet)
    _one_bar()
    with _say.bar("checking", len(card.claims) * len(setting.seeds), quiet) as progress:
        result = run(card, setting, progress)
    _record(result, card, results, quiet)


def _prepare(card: "Card", setting: "Setting", results: Path, quiet: bool) -> None:
    """Say what a check takes, once it is sure that its result can be written."""
    from ..papers.cards.results import place
    from ..report.files import check_writable

    assert card.cost is not None
    minutes = card.cost.quick_minutes if setting.quick else card.cost.minutes * len(setting.seeds) / card.seeds
    path = place(card.slug, setting, results)
    path.parent.mkdir(parents=True, exist_ok=True)
    check_writable(path)
    _note(f"{card.slug}: {_cost(minutes, card.cost.memory_gb)}", quiet)


def _record(result: "Result", card: "Card", results: Path, quiet: bool) -> None:
    from ..papers.cards.results import judged, save

    written = save(result, card, results)
    if not quiet:
        for claim in judged(card, [result]):
            _tell_claim(claim)
        if result.setting.quick:
            _say.say("a quick run is a trial: it is in no list and no gallery")
    for path in written:
        typer.echo(path)


def _cost(minutes: float, memory_gb: float) -> str:
    return f"about {minutes:.2g} minutes on two CPU cores, and {memory_gb:g} GB"


def _one_bar() -> None:
    """Keep transformers from showing a bar for every small model that it loads."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def _note(text: str, quiet: bool) -> None:
    """Say on stderr what is about to happen."""
    if not quiet:
        typer.echo(text, err=True)


def _tell_card(card: "Card") -> None:
    """Print a card's facts and how to use it."""
    from ..papers.cards import words

    _say.say(card.title, "bold")
    _say.say(f"{card.slug}, {card.family}, {words.authors(card)}, {card.date}, https://arxiv.org/abs/{card.arxiv}")
    _say.say(card.sentence)
    if card.methods:
        _say.say(f"in regard: {', '.join(card.methods)}")
    if card.real:
        _say.say(f"on a real model: {card.real}")


def _tell_claims(standing: "Standing") -> None:
    """Print claims with what is recorded of them."""
    for claim in standing.judged:
        _tell_claim(claim)
    if standing.outdated:
        _say.say("some results are of earlier claims and are left out; check again", "bold")


def _tell_claim(judged: "Judged") -> None:
    """Print a claim: the paper's number, our threshold, what was measured, and the three marks."""
    from ..papers.cards import words

    claim = judged.claim
    _say.say(f"\n{claim.name}: {claim.statement}", "bold")
    _say.say(f"  the paper: {claim.reported}")
    _say.say(f"  threshold: {words.threshold(claim)} ({claim.why})")
    for name, what in claim.controls.items():
        _say.say(f"  control {name}: {what}")
    for seen in judged.seen:
        if seen.effects:
            _say.say(f"  measured in {seen.model}: {words.measured(claim, seen)}")
    _say.say(f"  equation: {words.equation(judged)}")
    for seen in judged.seen:
        reasons = f": {', '.join(seen.failed)}" if seen.failed else ""
        _say.say(f"  mechanism: {seen}{reasons}")
    _say.say(f"  reproduction: {words.reproduction(judged)}")
    if claim.own:
        _say.say(f"  on the paper's own: {claim.own.command}")
