"""``cascade log``: what the log of decisions has, in and out of it, and what became of items."""

from __future__ import annotations

import json as json_
import re
import sqlite3
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.log_file import LogOption, age_ago, log_path, moment, opened
from cascade.cli.log_output import show_pruned, show_requests, show_summary, show_task, task_dict, told_request
from cascade.cli.output import ConfigOption, JsonOption, need_command, note, plain, print_json, progress, results
from cascade.cli.outputs import ForceOption, check_new, written
from cascade.errors import InputError, counted
from cascade.files import STDIN
from cascade.log.database import opened_log, snapshot, transaction
from cascade.log.outcomes import LoggedOutcome, read_outcomes
from cascade.log.prune import count, prune
from cascade.log.record_import import add_entries, read_entries
from cascade.log.records import read_records
from cascade.log.store import add_outcomes, last_requests, read_outcomes_of, read_requests, tasks_like, without_decision
from cascade.log.summary import size, summary

app = typer.Typer(
    help="Show, move and shorten the log of decisions, and tell it what became of items.",
    invoke_without_command=True,
    callback=need_command,
)

_WHOLE_ID = re.compile(r"[0-9a-f]{32}")
"""What ``Task.id`` looks like."""

TaskIdOption = Annotated[str | None, typer.Option("--task", metavar="ID", help="Id of a task, or its beginning.")]


@app.command()
def show(
    *,
    task: TaskIdOption = None,
    last: Annotated[int | None, typer.Option(min=1, help="List the last N requests as well.")] = None,
    log: LogOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say what a log has; of one task its requests, decisions, answers and outcomes."""
    with opened(log, config) as (database, path):
        if task is not None:
            id_ = _task(database, task)
            requests = list(read_requests(database, task=id_))
            outcomes = read_outcomes_of(database, id_)
            if json:
                print_json(task_dict(id_, requests, outcomes))
            else:
                show_task(results(), id_, requests, outcomes)
            return
        found = summary(database, path)
        requests = last_requests(database, last or 0)
        if json:
            listed = {"last": [told_request(request) for request in requests]} if last else {}
            print_json({"log": str(path), **found.as_dict(), **listed})
            return
        show_summary(results(), path, found)
        if requests:
            show_requests(results(), requests)


@app.command(name="export")
def export_(
    file: Annotated[Path, typer.Argument(help="Where to, JSON lines in the form .jevl; - for stdout.")],
    *,
    log: LogOption = None,
    force: ForceOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Write a log as JSON lines, a record for each item of each request, and its outcomes."""
    check_new(file, force=force, json=json)
    n = 0
    with (
        opened(log, config) as (database, path),
        snapshot(database),
        progress() as bar,
        written(file, is_private=True) as write,
    ):
        line = bar.add_task("records", total=None)
        for record in read_records(database):
            write(json_.dumps(record, allow_nan=False) + "\n")
            n += 1
            bar.advance(line)
    if json:
        print_json({"log": str(path), "file": str(file), "records": n})
    elif file != STDIN:
        results().print(plain(f"{file}: {counted(n, 'record')} of {path}"))


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSON lines in the form .jevl, plain or gzipped; - for stdin.")],
    *,
    log: LogOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Add the records of a file to a log, all or none; those that it has already change nothing."""
    path = log_path(log, config)
    with progress() as bar:
        line = bar.add_task("records", total=None)
        entries = []
        for entry in read_entries(file):
            entries.append(entry)
            bar.advance(line)
    with opened_log(path) as database:
        new = add_entries(database, entries)
    if json:
        print_json({"log": str(path), "file": str(file), "new": new})
        return
    words = ", ".join(counted(n, name.removesuffix("s")) for name, n in new.items())
    results().print(plain(f"{path}: new are {words}"))


@app.command(name="prune")
def prune_(  # noqa: PLR0913 - the command line's options
    *,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Take out what is older than this, such as 12h, 30d or 8w.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(metavar="DATE", help="Take out what is from before this day or time, local time.")
    ] = None,
    outcomes: Annotated[bool, typer.Option("--outcomes", help="Take out old outcomes as well.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be taken out.")] = False,
    log: LogOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Take old requests, and answers kept for reuse, out of a log, with texts that nothing else needs."""
    at = _before(older_than, before)
    with opened(log, config) as (database, path):
        size_before = size(path)
        found = count(database, at, outcomes=outcomes)
        if not dry_run:
            with progress() as bar:
                line = bar.add_task("requests", total=found.requests)
                found = prune(database, at, outcomes=outcomes, step=lambda n: bar.advance(line, n))
        freed = size_before - size(path)
    if json:
        figures = {"log": str(path), "before": at, "dry_run": dry_run, **asdict(found), "bytes_freed": max(freed, 0)}
        print_json(figures)
    else:
        show_pruned(results(), path, found, max(freed, 0), is_dry=dry_run)


@app.command()
def outcome(
    *,
    file: Annotated[Path, typer.Option(help="JSON lines, one outcome each, plain or gzipped; - for stdin.")],
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="ID", help="Id of the task of lines that name none, or the id's beginning."),
    ] = None,
    source: Annotated[str, typer.Option(metavar="NAME", help="Who says so, of lines that do not tell.")] = "",
    log: LogOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Tell a log what became of items, all lines or none.

    A later outcome of the same task, item and kind corrects an earlier one; both are kept.
    """
    with opened(log, config) as (database, path):
        of = _task(database, task, may_come=True) if task is not None else ""
        given, now = list(read_outcomes(file, of, source)), time.time()
        with transaction(database):
            add_outcomes(database, [LoggedOutcome.of(one, now, place) for place, one in enumerate(given)])
        unknown = without_decision(database, given)
    if json:
        print_json({"log": str(path), "recorded": len(given), "without_decision": len(unknown)})
        return
    if unknown:
        first = unknown[0]
        note(
            f"{counted(len(unknown), 'outcome is', 'outcomes are')} about items that the log has no decision on, such "
            f"as {first.item!r} of task {first.task!r}; they are kept"
        )
    results().print(plain(f"{path}: {counted(len(given), 'outcome')} recorded"))


def _task(database: sqlite3.Connection, beginning: str, *, may_come: bool = False) -> str:
    """The id of the one task that begins so.

    Args:
        database: The log.
        beginning: A beginning of the id, or all of it.
        may_come: Whether a whole id stands for itself where the log does not have it yet.

    Raises:
        InputError: There is none, or several.
    """
    found = tasks_like(database, beginning)
    if len(found) == 1 or beginning in found:
        return beginning if beginning in found else found[0]
    if may_come and not found and _WHOLE_ID.fullmatch(beginning):
        return beginning
    problem = f"{len(found)} tasks have ids that begin so; give more of it" if found else "the log has no such task"
    if may_come and not found:
        problem += ", and one that is still to come needs its whole id, of 32 hexadecimal digits"
    msg = f"--task {beginning!r}: {problem}. `cascade log show --last 20` lists tasks."
    raise InputError(msg)


def _before(older_than: str | None, before: str | None) -> float:
    """Seconds since the epoch before which all is taken out.

    Raises:
        InputError: Neither or both are given, or one cannot be read.
    """
    if older_than is not None and before is None:
        return age_ago("--older-than", older_than)
    if before is not None and older_than is None:
        return moment("--before", before)
    msg = "Give exactly one of --older-than, such as 30d, and --before, such as 2026-11-01."
    raise InputError(msg)
