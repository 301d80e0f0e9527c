"""Ray Data's datasets of rows: in the order in which they share most, and with checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cascade.errors import MachineError
from cascade.ray.share import check_ray

if TYPE_CHECKING:
    from ray.data import Dataset


def by_task(rows: Dataset, column: str = "task") -> Dataset:
    """Rows sorted by task, so that each actor reads a task once; rows of one task lie in one block.

    Args:
        rows: Rows as ``CascadePredictor`` takes them.
        column: What they are sorted by: the column of the task's text, or of an id of it.

    Raises:
        MachineError: Ray is not installed.
    """
    check_ray()
    return rows.sort(column)


def checkpointed(rows: Dataset, folder: str, id_column: str = "id", *, keeps: bool = True) -> Dataset:
    """Rows of which those that a former run has written are left away, by Ray Data's own checkpoints.

    Ray knows a row by its id alone, and not what answered it: take another folder for another model or config. It
    needs rows that are read from files, and written to files as the last step.

    Args:
        rows: Rows as they are read, before anything is done with them.
        folder: Where Ray keeps the ids of what is written; all nodes must reach it.
        id_column: A column whose values are unique over all tasks.
        keeps: Whether the checkpoints stay once all rows are written, so that a further run adds what is new.

    Raises:
        MachineError: Ray is not installed, or has no checkpoints.
    """
    check_ray()
    try:
        from ray.data.checkpoint import CheckpointConfig  # noqa: PLC0415 - the extra `ray` may be absent
    except ImportError as error:
        msg = "This Ray has no CheckpointConfig. Use `cascade run --ray --resume`, which goes on by keys of its own."
        raise MachineError(msg) from error
    rows.context.checkpoint_config = CheckpointConfig(id_column, folder, delete_checkpoint_on_success=not keeps)
    return rows
