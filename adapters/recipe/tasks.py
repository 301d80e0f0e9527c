"""The labelled tasks on disk."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from cascade.evaluation.commits import CommitTask

WITHIN_CLASSES = "supporting, classes only"
"""Name of the last question where it is put to classes alone."""


def read_tasks(paths: Sequence[Path]) -> Iterator[CommitTask]:
    """The tasks of gzipped JSON-lines files, in order."""
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield CommitTask.model_validate(json.loads(line))
