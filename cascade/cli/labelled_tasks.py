"""Labelled tasks for the commands that judge a cascade, each once, with a word on those that are given again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.output import note
from cascade.errors import InputError
from cascade.metrics import counted
from cascade.rows import Format, Labelled, read_tasks
from cascade.tree import Cascade
from cascade.tuning.repeats import Distinct, Pair, contradiction, distinct

FilesArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="FILE", help="Labelled tasks, as --data takes them.")
]
DataOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Labelled tasks, JSON lines, plain or gzipped; - for stdin; may be repeated."),
]


def data_files(files: Sequence[Path] | None, data: Sequence[Path] | None) -> list[Path]:
    """The files that were given with and without --data, those with it first.

    Raises:
        InputError: There is none.
    """
    found = [*(data or ()), *(files or ())]
    if not found:
        msg = "No labelled tasks are given. Name a file of them, such as --data labelled.jsonl."
        raise InputError(msg)
    return found


def labelled_tasks(
    paths: Sequence[Path], cascade: Cascade, form: Format | None = None, *, may_contradict: bool = False
) -> Distinct:
    """The labelled tasks of files, those that are equal counted once.

    Args:
        paths: The files.
        cascade: Whose labels the truths are.
        form: How the files are written; None recognises each line by its fields.
        may_contradict: Whether tasks that are the same with other labels are told of, and not refused.

    Raises:
        InputError: A file or a row cannot be used, or two tasks contradict each other.
    """
    found = distinct(read_tasks(paths, cascade, form))
    n_again = len(found.repeated)
    if n_again:
        of = f"{n_again:,} of {counted(n_again + len(found.tasks), 'task')}"
        verb = "is" if n_again == 1 else "are"
        note(f"{of} {verb} equal to an earlier one, and not counted: {_first(found.repeated)}")
    if found.contradicting:
        told = f"{_first(found.contradicting)}. {_difference(found.contradicting[0])}"
        if not may_contradict:
            msg = (
                f"Tasks that are the same have other labels: {told} At most one of the two is right: mend or leave out "
                "the other. `cascade audit` takes them as they are, and shows what the model says of such items."
            )
            raise InputError(msg)
        note(f"tasks that are the same have other labels, and all count: {told}")
    if found.overlapping:
        note(
            f"tasks have the text and some of the items of an earlier one, and count by themselves: "
            f"{_first(found.overlapping)}; where it is the same task, give it once"
        )
    missing = _missing(found.tasks, cascade)
    if missing:
        note(f"these tasks do not show all of cascade {cascade.name!r}: {'; '.join(missing)}")
    return found


def _missing(tasks: Sequence[Labelled], cascade: Cascade) -> list[str]:
    """What no item has, so that some figures cannot be had, or tell little."""
    labels = {label for labelled in tasks for label in labelled.labels}
    found = []
    if labels == {cascade.dropped}:
        found.append(f"no item matters, all are {cascade.dropped!r}")
    elif cascade.dropped not in labels:
        found.append(f"every item matters, none is {cascade.dropped!r}")
    true_answers = cascade.true_answers()
    for stage in cascade.stages:
        truths = {true_answers[label][stage.name] for label in labels if stage.name in true_answers[label]}
        if len(truths) == 1:
            found.append(f"the true answer to {stage.name!r} is never {'no' if truths.pop() else 'yes'}")
        elif not truths:
            found.append(f"no label tells the true answer to {stage.name!r}")
    return found


def _first(pairs: Sequence[Pair]) -> str:
    """The first pair by its places, and how many more there are."""
    later, earlier = pairs[0]
    more = f" and {len(pairs) - 1} more" if len(pairs) > 1 else ""
    return f"{later.where} ({earlier.where}){more}"


def _difference(pair: Pair) -> str:
    item, later, earlier = contradiction(pair)
    return f"There the item {item.id!r} is {later!r}, and before it was {earlier!r}."
