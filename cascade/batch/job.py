"""A job: all rows of some files through an engine into a file of results, however often it is interrupted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade.batch.answers import CONCURRENCY, Answered, Elsewhere, answered
from cascade.batch.finished import Finished
from cascade.batch.provenance import RunProvenance
from cascade.batch.reading import Source
from cascade.batch.results import result_of
from cascade.batch.results_file import OldRow, ResultsFile, new_results, resumed_results
from cascade.batch.rows import Row
from cascade.engine.engine import Engine


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a job has come to.

    Attributes:
        n_before: Rows that had their results before this run.
        n_done: Rows that this run has given results.
        n_gone: Rows of results whose row is not in the input any more; known at the end.
        labels: Label -> rows that have it, those from before among them.
        errors: Kind of error -> rows that have one, those from before among them.
        statuses: Status -> rows that have it, likewise.
        n_calls: Questions that this run has asked.
    """

    n_before: int = 0
    n_done: int = 0
    n_gone: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    n_calls: int = 0

    @property
    def n_rows(self) -> int:
        """Rows that have results."""
        return self.n_before + self.n_done

    def add(self, row: OldRow) -> None:
        """Count a row of results."""
        if row["label"] is None:
            self.errors[row["error_kind"]] += 1
        else:
            self.labels[row["label"]] += 1
            self.statuses[row["status"]] += 1

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {
            "rows": self.n_rows,
            "rows_before": self.n_before,
            "rows_gone": self.n_gone,
            "labels": dict(self.labels.most_common()),
            "statuses": dict(self.statuses.most_common()),
            "errors": dict(self.errors.most_common()),
            "calls": self.n_calls,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be done.

    Attributes:
        source: The rows.
        out: The file of results.
        cascade: Name of the cascade.
        resume: Whether rows that have results are left as they are; otherwise the file must be new.
        retry: With ``resume``, whether those are asked again whose error was not their own.
        force: Whether a file that is there is emptied first.
        depth: Most stages that an item passes; None for no limit.
        concurrency: Most requests that are open at once.
    """

    source: Source
    out: Path
    cascade: str
    resume: bool = False
    retry: bool = False
    force: bool = False
    depth: int | None = None
    concurrency: int = CONCURRENCY


def run_job(engine: Engine | Elsewhere, job: Job, told: Callable[[Tally], object] = bool) -> Tally:
    """Do a job.

    Args:
        engine: Answers; one that is elsewhere was made for the job's cascade and depth.
        job: What is to be done.
        told: Told what it has come to, often.

    Raises:
        InputError: The input cannot be read, or the results cannot be gone on with; says why.
        ClosedError: The engine was closed, or has failed for good.
        MachineError: The results cannot be written. Whatever is raised, what is done stands in the file.
    """
    made_by = RunProvenance.of(engine, job.cascade, job.depth) if isinstance(engine, Engine) else engine.made_by
    tally = Tally()
    with Finished() as finished, _results(job, made_by, finished, tally) as out:
        told(tally)

        def is_done(row: Row) -> bool:
            return tally.n_before > 0 and finished.take(row.key(made_by.digest))

        rows = answered(engine, job.source, job.cascade, depth=job.depth, concurrency=job.concurrency, is_done=is_done)
        for found in rows:
            _write(out, found, made_by, tally)
            told(tally)
        tally.n_gone = finished.n_left
    return tally


def _results(job: Job, made_by: RunProvenance, finished: Finished, tally: Tally) -> AbstractContextManager[ResultsFile]:
    """The file of results; what is there is counted."""

    def seen(row: OldRow) -> None:
        finished.add(row["key"])
        tally.n_before += 1
        tally.add(row)

    if job.resume:
        return resumed_results(job.out, made_by, seen, retry=job.retry)
    return new_results(job.out, force=job.force)


def _write(out: ResultsFile, found: Answered, made_by: RunProvenance, tally: Tally) -> None:
    """Append what rows got, and count it."""
    rows = [result_of(row, got, made_by) for row, got in found]
    out.append(rows)
    tally.n_done += len(rows)
    for row in rows:
        tally.add(row)
        tally.n_calls += sum(bool(step["adapter"]) for step in row.get("steps", ()))
