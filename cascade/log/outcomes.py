"""What became of an item after it was judged: read from files, checked, and what of it counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from cascade.arguments import number, refuse, text
from cascade.config.json_rows import parse_row
from cascade.errors import InputError
from cascade.files import read_objects
from cascade.log.entries import new_id

LABEL = "label"
"""The kind of an outcome that says an item's true label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is known of an item once the task is over.

    A later outcome of the same kind for the same task and item corrects an earlier one; both are kept.

    Attributes:
        task: Id of the task; see ``Task.id``.
        item: Id of the item.
        what: The kind: ``label``, or a word such as ``used``, ``changed`` or ``wrong``.
        label: The true label, for the kind ``label``; empty otherwise.
        value: How true it is, in [0, 1]: 1 for yes, 0 for no, between them a weight or a share of judges.
        source: Who says so, such as ``commit``, a person's name, or the server that was asked.

    Raises:
        InputError: A value is of another type or outside its range, or a label is missing or given without need.
    """

    task: str
    item: str
    what: str = LABEL
    label: str = ""
    value: float = 1.0
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("task", "item", "what"):
            if not text(f"{name} of an outcome", getattr(self, name)).strip():
                refuse(f"{name} of an outcome", getattr(self, name), "a word is needed")
        text("label of an outcome", self.label)
        text("source of an outcome", self.source)
        if (self.what == LABEL) != bool(self.label):
            allowed = 'a label is needed for what = "label", and none for other kinds'
            refuse("label of an outcome", self.label, f"{allowed}; this one is {self.what!r}")
        allowed = "a number in [0, 1] is needed"
        object.__setattr__(self, "value", number("value of an outcome", self.value, allowed))
        if not 0 <= self.value <= 1:
            refuse("value of an outcome", self.value, allowed)


@dataclass(frozen=True, slots=True)
class LoggedOutcome:
    """An outcome as the log has it.

    Attributes:
        id: Unique; ids sort by time.
        at: When it was recorded, in seconds since the epoch.
        task: As ``Outcome.task``, and so on.
        item: See there.
        what: See there.
        label: See there.
        value: See there.
        source: See there.
    """

    id: str
    at: float
    task: str
    item: str
    what: str
    label: str
    value: float
    source: str

    @classmethod
    def of(cls, outcome: Outcome, at: float, place: int = 0) -> Self:
        """An outcome that is recorded now, at a place among those of one call."""
        one = outcome
        return cls(new_id(at, place), at, one.task, one.item, one.what, one.label, one.value, one.source)


class OutcomeRow(BaseModel):
    """One line of a file of outcomes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str = ""
    item: str = Field(min_length=1)
    what: str = ""
    label: str = ""
    value: Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)] = 1.0
    source: str = ""

    def outcome(self, task: str = "", source: str = "") -> Outcome:
        """The pure form; what a line leaves out is that of the file.

        Args:
            task: Id of the task that all lines are about.
            source: Who says so.

        Raises:
            InputError: It has no task, or does not hold together.
        """
        if not (self.task or task):
            msg = "no task is given. Give each line a `task`, or name one for all of them with --task."
            raise InputError(msg)
        return Outcome(
            task=self.task or task,
            item=self.item,
            what=self.what or LABEL,
            label=self.label,
            value=self.value,
            source=self.source or source,
        )


def read_outcomes(path: Path, task: str = "", source: str = "") -> Iterator[Outcome]:
    """The outcomes of a file of JSON lines; ``-`` for stdin.

    Args:
        path: The file.
        task: Id of the task of lines that name none.
        source: Who says so, of lines that do not tell.

    Raises:
        InputError: The file cannot be read, or a line is no outcome; names file, line and field.
    """
    for where, value in read_objects(path):
        row = parse_row(OutcomeRow, value, where)
        try:
            yield row.outcome(task, source)
        except InputError as error:
            msg = f"{where}: {error}"
            raise InputError(msg) from error


def latest(outcomes: Sequence[LoggedOutcome]) -> list[LoggedOutcome]:
    """The outcomes that count, of some in the order in which they came: of each task, item and kind the last."""
    return list({(one.task, one.item, one.what): one for one in outcomes}.values())
