"""``cascade dataset review``: what is worth a look, as a list, as a page, or one after the other with answers."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cascade.cli.dataset_options import (
    CascadeOption,
    KindOption,
    RenameOption,
    SinceOption,
    TrustOption,
    cascade_of,
    reading_of,
)
from cascade.cli.dataset_output import show_one, show_picks, show_rates
from cascade.cli.log_file import LogOption, opened, since_option
from cascade.cli.output import ConfigOption, JsonOption, note, plain, print_json, progress, results
from cascade.cli.outputs import ForceOption, check_new
from cascade.config.schema import read_config, shipped_config
from cascade.dataset.candidates import Candidate, candidates, drawn_of
from cascade.dataset.known import REVIEW, Reading
from cascade.dataset.picking import Picked, pick
from cascade.dataset.rates import rates
from cascade.dataset.review import Shown, record, sampled, shown
from cascade.dataset.review_page import check_page, write_page
from cascade.errors import InputError, counted
from cascade.files import STDIN
from cascade.log.outcomes import Outcome
from cascade.tree import Cascade

_SKIP, _QUIT = "s", "q"


def review(  # noqa: PLR0913 - the command line's options
    *,
    cascade: CascadeOption,
    log: LogOption = None,
    most: Annotated[int, typer.Option("--most", min=1, help="How many items are to be looked at.")] = 20,
    random: Annotated[
        float, typer.Option(min=0, max=1, help="Share of them that is drawn at random, so that rates can be estimated.")
    ] = 0.25,
    answer: Annotated[bool, typer.Option("--answer", help="Ask for the true label of each, and record it.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page on which each can be answered.")
    ] = None,
    by: Annotated[str, typer.Option(metavar="NAME", help="Who looks; their answers' source is review:NAME.")] = "",
    outcome: KindOption = None,
    rename: RenameOption = None,
    trust: TrustOption = None,
    since: SinceOption = None,
    force: ForceOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List the items of a log that are worth a look: some at random, some sure and wrong, the rest uncertain."""
    if answer + json + (html is not None) > 1:
        msg = "--answer, --html and --json exclude each other. Give one of them."
        raise InputError(msg)
    if html is not None:
        _check_page(html, force=force)
    tree = cascade_of(read_config(config or shipped_config()), cascade)
    reading = reading_of(tree, outcome, "", rename, trust)
    source = f"{REVIEW}:{by}" if by else REVIEW
    with opened(log, config) as (database, path):
        found = scanned(database, path, tree, reading, since_option(since))
        picked = pick(found, most, random)
        chosen = shown(database, picked.picks)
        if json:
            _print(path, tree, found, picked, chosen)
        elif html is not None:
            write_page(html, tree, chosen, picked, source)
            results().print(plain(f"{html}: {counted(len(chosen), 'item')} of {path}"))
        elif answer:
            n = _ask(results(), database, tree, chosen, picked, source)
            results().print(plain(f"{path}: {counted(n, 'answer')} recorded"))
            show_rates(results(), rates(list(drawn_of(scanned(database, path, tree, reading, since_option(since))))))
        else:
            show_picks(results(), path, len(found), chosen)
            show_rates(results(), rates(list(drawn_of(found))))
        if not chosen:
            note("nothing is worth a look: every item has a label, and none is known to be wrong")


def scanned(database: sqlite3.Connection, path: Path, tree: Cascade, reading: Reading, since: float) -> list[Candidate]:
    """All items that a cascade judged, with a bar that counts them.

    Raises:
        InputError: It judged none.
    """
    with progress() as bar:
        line = bar.add_task("items", total=None)
        found = candidates(database, tree, reading, since, lambda: bar.advance(line))
    if not found:
        msg = f"{path}: the log has no decision of cascade {tree.name!r}. Name another cascade, log or time."
        raise InputError(msg)
    return found


def _check_page(html: Path, *, force: bool) -> None:
    if html == STDIN:
        msg = "--html -: a page is written to a file. Name one, such as --html review.html."
        raise InputError(msg)
    check_page()
    check_new(html, force=force)


def _print(path: Path, tree: Cascade, found: Sequence[Candidate], picked: Picked, chosen: Sequence[Shown]) -> None:
    print_json(
        {
            "log": str(path),
            "cascade": tree.name,
            "labels": list(tree.answers),
            "items": len(found),
            "picks": [one.as_dict() for one in chosen],
            "drawn": [{"task": task, "item": item} for task, item in sorted(picked.drawn)],
            "p_drawn": picked.p,
            "rates": rates(list(drawn_of(list(found)))).as_dict(),
        }
    )


def _ask(
    console: Console, database: sqlite3.Connection, tree: Cascade, chosen: Sequence[Shown], picked: Picked, source: str
) -> int:
    """Show each item, ask for its label, and record it at once; how many were answered."""
    n = 0
    for number, one in enumerate(chosen, 1):
        show_one(console, one, number, len(chosen))
        label = _answer(console, tree)
        if label == _QUIT:
            break
        if label == _SKIP:
            continue
        decision = one.pick.candidate.decision
        said = Outcome(task=decision.task, item=decision.item, label=label, source=source)
        record(database, [said] if n else [*sampled(picked, source), said])
        n += 1
    return n


def _answer(console: Console, tree: Cascade) -> str:
    """The label that is chosen by its number or its name; ``s`` to leave the item, ``q`` to end."""
    numbered = {str(at): label for at, label in enumerate(tree.answers, 1)}
    words = ", ".join(f"{at} {label}" for at, label in numbered.items())
    console.print(plain(f"{words}; s to skip, q to quit"))
    for given in _lines():
        if given in numbered or given in tree.answers or given in {_SKIP, _QUIT}:
            return numbered.get(given, given)
        note(f"{given!r} is none of these. Give a number or a label, s to skip, or q to quit.")
    return _QUIT


def _lines() -> Iterator[str]:
    while True:
        sys.stdout.write("> ")
        sys.stdout.flush()
        line = sys.stdin.readline()
        if not line:
            sys.stdout.write("\n")
            return
        yield line.strip()
