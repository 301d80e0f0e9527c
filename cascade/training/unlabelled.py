"""Tasks whose truth nobody knows, which a teacher alone makes something to learn from."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from cascade.config.item_rows import ItemRow, Words
from cascade.config.json_rows import parse_row
from cascade.engine.request import with_evidence
from cascade.errors import InputError, ItemError, counted
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.score_file import Note
from cascade.files import check_readable, read_objects
from cascade.items import Task
from cascade.tree import Cascade

UNKNOWN = ""
"""The label of an item whose truth nobody knows."""


class _ItemRow(ItemRow):
    """An item; a label that it has is not read."""

    label: str = UNKNOWN
    weight: float = 1.0

    def plain(self) -> ItemRow:
        """The item alone."""
        return ItemRow(**{name: getattr(self, name) for name in ItemRow.model_fields})


class _TaskRow(BaseModel):
    """A task with its items: one line."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    task: Words = Field(min_length=1)
    seeds: tuple[str, ...] = ()
    items: tuple[_ItemRow, ...]


def read_unlabelled(paths: Sequence[Path], cascade: Cascade, others: Collection[str], note: Note) -> list[Labelled]:
    """Tasks of JSON lines in the form of labelled ones, whose labels are not read.

    Args:
        paths: The files.
        cascade: What will be asked of their items.
        others: Ids of the tasks that are labelled, which are left out here.
        note: Told how many are left out.

    Raises:
        InputError: A file or a line cannot be used.
    """
    check_readable(paths)
    found = [labelled for path in paths for labelled in _read(path, cascade)]
    kept = [labelled for labelled in found if labelled.task.id not in others]
    if len(kept) < len(found):
        n = counted(len(found) - len(kept), "unlabelled task is", "unlabelled tasks are")
        note(f"{n} labelled elsewhere, and left out")
    return kept


def _read(path: Path, cascade: Cascade) -> Iterator[Labelled]:
    for where, value in read_objects(path):
        row = parse_row(_TaskRow, value, where)
        task = Task(text=row.task, seeds=row.seeds)
        try:
            items = [each.plain().item() for each in row.items]
            for stage in cascade.stages:
                for item in items:
                    stage.tiers_of(item)
        except ItemError as error:
            msg = f"{where}: {error}"
            raise InputError(msg) from error
        if len({item.id for item in items}) < len(items):
            msg = f"{where}: field 'items': an id stands there twice; make ids unique."
            raise InputError(msg)
        asked = tuple(with_evidence(cascade, task, items))
        yield Labelled(task=task, items=asked, labels=(UNKNOWN,) * len(asked), where=where)
