"""``cascade classify``: label the candidates of a repository, or the items of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Annotated

import typer

from cascade.budget import BudgetLike
from cascade.cli.output import (
    ConfigOption,
    JsonOption,
    ThresholdsOption,
    budget_option,
    note,
    print_json,
    progress,
    results,
)
from cascade.cli.tables import show_decisions
from cascade.config.schema import read_config, shipped_config
from cascade.engine.engine import Engine
from cascade.errors import InputError, counted
from cascade.evaluation.dataset import read_items
from cascade.files import STDIN, check_readable, name_of, read_text
from cascade.items import Item, Task
from cascade.report import Decision, Report, Status
from cascade.repository.find import Candidates, find_candidates
from cascade.tree import Cascade, ItemKind


def classify(  # noqa: PLR0913 - the command line's options
    *,
    task: Annotated[str | None, typer.Option(help="What is to be done, in plain words, taken as it stands.")] = None,
    task_file: Annotated[
        Path | None, typer.Option(help="A text file that says it, in place of --task; - for stdin.")
    ] = None,
    repo: Annotated[Path | None, typer.Option(help="Folder of a repository.")] = None,
    from_: Annotated[
        list[str] | None,
        typer.Option("--from", help="A file the work starts from, beside those in the task; may be repeated."),
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="JSON lines, one item each, instead of a repository; - for stdin.")
    ] = None,
    cascade: Annotated[str, typer.Option(help="Name of the cascade.")] = "precision",
    budget: Annotated[
        float | None, typer.Option(help="Milliseconds it may take; then candidates get the likeliest label so far.")
    ] = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Most stages that a candidate passes.")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Show only the N that matter most.")] = None,
    thresholds: ThresholdsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Label every candidate and show which matter, how that was decided and what it cost.

    The page cascade/cli/README.md says what the words of evidence mean, such as match7 or imports.
    """
    if (repo is None) == (items is None):
        msg = "Give exactly one of --repo and --items."
        raise InputError(msg)
    check_readable([task_file, items, thresholds, config])
    text = _task(task, task_file)
    limit: BudgetLike = "config" if budget is None and depth is None else budget_option(budget, depth)
    with Engine.open(read_config(config or shipped_config(), {cascade: thresholds})) as engine:
        tree = engine.cascade(cascade)
        request = Task(text=text, seeds=tuple(from_ or ()))
        reading: dict[str, object] = {}
        if items is not None:
            found = read_items(items, tree)
            if not found:
                note(f"{name_of(items)}: has no items, so there is nothing to label")
        else:
            candidates, found = _candidates(repo or Path(), request, tree)
            request, reading = candidates.task, {"repository": candidates.reading()}
        report = engine.classify(request, found, cascade, budget=limit)
    _tell_cut(report, reads_all=repo is not None)
    ranked = _ranked(report, tree)[:top]
    if json:
        chosen = ranked if top else report.decisions
        print_json(report.as_dict() | {"decisions": [decision.as_dict() for decision in chosen]} | reading)
    else:
        _show(report, ranked, tree, {item.id: item for item in found})


def _task(text: str | None, path: Path | None) -> str:
    """What is to be done, as it was given.

    Raises:
        InputError: It is not given, twice, or blank, or its file cannot be read.
    """
    if (text is None) == (path is None):
        msg = "Give exactly one of --task and --task-file."
        raise InputError(msg)
    if text is not None and text.strip() == str(STDIN):
        msg = "--task - is no task. Give --task-file - to read it from stdin, or say in a sentence what is to be done."
        raise InputError(msg)
    where = "--task" if path is None else name_of(path)
    found = read_text(path, "Give a text file that says what is to be done.") if path is not None else text or ""
    if not found.strip():
        msg = f"{where}: the task is empty. Say in a sentence what is to be done."
        raise InputError(msg)
    return found.strip()


def _candidates(repo: Path, task: Task, cascade: Cascade) -> tuple[Candidates, list[Item]]:
    """What was found in a repository, and what of it the cascade asks; notes say what was left out, and why."""
    with progress() as bar:
        line = bar.add_task("reading files", total=None)
        found = find_candidates(
            repo, task.text, task.seeds, progress=lambda done, total: bar.update(line, completed=done, total=total)
        )
    if cascade.items is ItemKind.FILES:
        items, none = found.file_items(), found.without_files()
    else:
        items, none = found.symbol_items(), found.without_symbols()
    if none and not items:
        found = replace(found, messages=(*found.messages, none))
    for message in found.messages:
        note(message)
    return found, items


def _ranked(report: Report, cascade: Cascade) -> list[Decision]:
    """Decisions by label, the surest first; what is dropped comes last, and of that the least sure first."""
    rank = {label: place for place, label in enumerate(cascade.labels)} | {cascade.dropped: len(cascade.labels)}

    def order(decision: Decision) -> tuple[int, float]:
        sure = prod(step.p_yes if step.answer else 1 - step.p_yes for step in decision.steps)
        return rank[decision.label], sure if decision.label == cascade.dropped else -sure

    return sorted(report.decisions, key=order)


def _tell_cut(report: Report, *, reads_all: bool) -> None:
    """Say once what the limits of a prompt cut off.

    Args:
        report: What came of the request.
        reads_all: Whether evidence was made from the whole of the task.
    """
    stats, read = report.stats, []
    if stats.task_tokens_cut:
        n = stats.task_tokens_read + stats.task_tokens_cut
        of = f"more than {n:,}" if stats.task_is_longer else f"{n:,}"
        read.append(f"the first {stats.task_tokens_read:,} of {of} tokens of the task")
    if stats.items_cut:
        read.append(f"the beginning of {counted(stats.items_cut, 'candidate')}")
    if read:
        note(f"the model reads {' and '.join(read)}" + ("; evidence is made from all of it" if reads_all else ""))


def _show(report: Report, decisions: Sequence[Decision], cascade: Cascade, items: dict[str, Item]) -> None:
    console = results()
    if decisions:
        is_whole = show_decisions(console, decisions, cascade, items)
        console.print()
        if not is_whole:
            note("not all evidence has room here; a wider terminal shows it, or a pipe such as `| less -S`")
    counts = report.labels()
    stats = report.stats
    console.print(
        f"{counted(stats.items, 'candidate')}: "
        + ", ".join(f"{counts.get(label, 0)} {label}" for label in cascade.labels)
    )
    cut = Counter(decision.status for decision in report.decisions if decision.status is not Status.DECIDED)
    if cut:
        console.print(
            "time or depth was too short for all: "
            + ", ".join(f"{n} {status}" for status, n in sorted(cut.items()))
            + ", with the likeliest label that is left to them"
        )
    for cause, n in Counter(decision.cause for decision in report.decisions if decision.cause).most_common():
        note(f"{n} of these: {cause}")
    console.print(
        f"{counted(stats.calls, 'call')}, {stats.calls_per_item:.2f} per candidate; "
        f"{counted(stats.decode_calls, 'decode call')}, {counted(stats.adapter_swaps, 'adapter swap')}; "
        f"{counted(stats.tokens_decoded, 'token')} decoded, {stats.tokens_reused:,} reused; "
        f"{stats.elapsed_ms:.0f} ms"
    )
