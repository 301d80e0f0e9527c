"""``cascade run``: label the items of many tasks, in a job that goes on where it stopped."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Self

import typer
from rich.progress import BarColumn, Progress, TextColumn

from cascade.batch.answers import CONCURRENCY, Elsewhere
from cascade.batch.job import Job, Tally, run_job
from cascade.batch.pace import Pace, expected_total, in_time, progress_line
from cascade.batch.reading import Source
from cascade.batch.results_file import check_results
from cascade.cli.kept_log import KeptLogOption, with_log
from cascade.cli.output import (
    ConfigOption,
    ExitCode,
    JsonOption,
    ThresholdsOption,
    note,
    print_json,
    progress,
    results,
)
from cascade.config.schema import Config, read_config, shipped_config
from cascade.engine.engine import Engine
from cascade.errors import InputError, counted
from cascade.files import STDIN, check_readable, is_there
from cascade.report import Status

AT_HAND = "auto"
"""The address of a cluster that is not named; what ``--ray`` alone stands for."""

_NOTE_S = 30.0
"""Seconds between two lines about progress where stderr is no terminal."""

_LOOK_S = 0.2  # between two looks at how far it is


def run(  # noqa: PLR0913 - the command line's options
    *,
    tasks: Annotated[
        list[Path], typer.Argument(metavar="TASKS", help="JSON lines, plain or gzipped, or Parquet; - for stdin.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where results go: JSON lines, one for each item.")],
    cascade: Annotated[str, typer.Option(help="Name of the cascade.")] = "precision",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the results that are there.")] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="With --resume: ask again where a server or the backend had failed.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Begin anew, and lose the results that are there.")] = False,
    depth: Annotated[int | None, typer.Option(min=1, help="Most stages that an item passes.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Most requests that are open at once.")] = CONCURRENCY,
    ray: Annotated[
        str | None,
        typer.Option(metavar="[ADDRESS]", help="Answer on a Ray cluster: that of an address, or that at hand."),
    ] = None,
    actors: Annotated[int | None, typer.Option(min=1, help="With --ray: how many engines; else all that fit.")] = None,
    log: KeptLogOption = None,
    thresholds: ThresholdsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> ExitCode:
    """Label the items of many tasks. A row that cannot be answered has an `error`, and ends nothing.

    Killed at any moment, the same command with --resume goes on where it stopped.
    """
    if retry and not resume:
        msg = "--retry asks again what has failed, so it goes with --resume. Add --resume."
        raise InputError(msg)
    if resume and force:
        msg = "--resume goes on with the results that are there, and --force loses them. Give one of them."
        raise InputError(msg)
    _check_cluster(ray, actors, log)
    check_readable([*tasks, thresholds, config])
    check_results(out, resume=resume, force=force)
    _check_not_read(out, tasks)
    read = with_log(read_config(config or shipped_config(), {cascade: thresholds}), log)
    source = Source(tasks)
    job = Job(
        source=source,
        out=out,
        cascade=cascade,
        resume=resume,
        retry=retry,
        force=force,
        depth=depth,
        concurrency=min(concurrency, read.engine.max_requests),
    )
    with _opened(read, job, ray, actors) as (engine, job), Shown.over(source, out) as shown:
        tally = run_job(engine, job, shown)
    _show(tally, shown.elapsed_s, json=json)
    return ExitCode.DONE


def _check_cluster(ray: str | None, actors: int | None, log: Path | None) -> None:
    """Refuse options that do not go together.

    Raises:
        InputError: Says which.
    """
    if actors is not None and ray is None:
        msg = "--actors says how many engines a cluster runs, so it goes with --ray. Add --ray."
        raise InputError(msg)
    if log is not None and ray is not None:
        msg = "--log has one writer, and --ray has many engines, which keep none. Give one of them."
        raise InputError(msg)


@contextmanager
def _opened(config: Config, job: Job, ray: str | None, actors: int | None) -> Iterator[tuple[Engine | Elsewhere, Job]]:
    """What answers, here or on a cluster, and the job with as many requests as that takes."""
    if ray is None:
        with Engine.open(config) as engine:
            yield engine, job
        return
    from cascade.ray.engines import opened  # noqa: PLC0415 - loads only where it is used

    address = None if ray == AT_HAND else ray
    with opened(config, job.cascade, address=address, n_actors=actors, depth=job.depth) as engines:
        yield engines, replace(job, concurrency=engines.concurrency)


def _check_not_read(out: Path, tasks: Sequence[Path]) -> None:
    """Refuse to write what is read, under whatever name; tasks are known to be readable.

    Raises:
        InputError: Results would go to a file of tasks.
    """
    if not is_there(out):
        return
    written = out.stat()
    if any(os.path.samestat(os.fstat(0) if path == STDIN else path.stat(), written) for path in tasks):
        msg = f"{out}: is read by the same command. Name another file with --out."
        raise InputError(msg)


class Shown:
    """Shows how far a job is: a bar on a terminal, a line every half a minute elsewhere.

    Args:
        source: What is read.
        bar: The bar, disabled where there is no terminal.
        note_s: Seconds between two lines.
    """

    def __init__(self, source: Source, bar: Progress, note_s: float) -> None:
        self._source, self._bar, self._note_s = source, bar, note_s
        self._line = bar.add_task("0 rows", total=None)
        self._began = self._looked = self._noted = time.monotonic()
        self._pace = Pace(self._began)
        self.n_rows = 0

    @classmethod
    @contextmanager
    def over(cls, source: Source, out: Path, note_s: float = _NOTE_S) -> Iterator[Self]:
        """What shows it while the job lasts; if that ends early, a note says how to go on."""
        columns = (BarColumn(bar_width=8), TextColumn("{task.description}"))
        with progress(*columns) as bar:
            shown = cls(source, bar, note_s)
            try:
                yield shown
            except InputError:
                raise
            except BaseException:
                if shown.n_rows and is_there(out):
                    rows = counted(shown.n_rows, "row")
                    note(f"{out} has {rows} of results. The same command with --resume goes on from there.")
                raise

    @property
    def elapsed_s(self) -> float:
        """Seconds since the job began."""
        return time.monotonic() - self._began

    def __call__(self, tally: Tally) -> None:
        """The job has come to this."""
        now, self.n_rows = time.monotonic(), tally.n_rows
        self._pace.tell(tally.n_done, now)
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        total = expected_total(self._source.n_rows, self._source.share)
        told = progress_line(tally.n_rows, total, self._pace.rate(tally.n_done, now))
        self._bar.update(self._line, description=told, completed=tally.n_rows, total=total)
        if self._bar.disable and now - self._noted >= self._note_s:
            self._noted = now
            note(told)


def _show(tally: Tally, elapsed_s: float, *, json: bool) -> None:
    """What a job has come to."""
    rate = tally.n_done / elapsed_s if elapsed_s else 0.0
    if json:
        print_json(tally.as_dict() | {"elapsed_s": round(elapsed_s, 3), "rows_per_s": round(rate, 3)})
        return
    console = results()
    before = f", {tally.n_before:,} of them from before" if tally.n_before else ""
    console.print(f"{counted(tally.n_rows, 'row')} of results{before}: {_counts(tally.labels)}")
    if tally.errors:
        console.print(f"{counted(tally.errors.total(), 'row has', 'rows have')} an error: {_counts(tally.errors)}")
    cut = {name: n for name, n in tally.statuses.items() if name != Status.DECIDED}
    if cut:
        console.print(f"not decided to the end: {_counts(cut)}")
    if tally.n_gone:
        note(f"{counted(tally.n_gone, 'row')} of results belong to rows that the input does not have")
    console.print(
        f"{counted(tally.n_calls, 'call')} for {counted(tally.n_done, 'row')} in {in_time(elapsed_s)}, "
        f"{rate:,.0f} rows/s"
    )


def _counts(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda each: -each[1])
    return ", ".join(f"{n:,} {name}" for name, n in ordered) or "none"
