"""``cascade dataset``: labelled tasks for training, built, shown, and handed to other tools."""

from __future__ import annotations

import json as json_
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade.cli.dataset_label import label_
from cascade.cli.dataset_options import (
    CascadeOption,
    KindOption,
    RenameOption,
    RestOption,
    SinceOption,
    TrustOption,
    cascade_of,
    reading_of,
)
from cascade.cli.dataset_output import show_dataset
from cascade.cli.dataset_review import review
from cascade.cli.labelled_data import DataOption, FilesArgument
from cascade.cli.log_file import LogOption, log_path, since_option
from cascade.cli.output import ConfigOption, JsonOption, need_command, note, plain, print_json, progress, results
from cascade.cli.outputs import ForceOption, check_new, written
from cascade.config.schema import read_config, shipped_config
from cascade.dataset.build import BuildOptions, build
from cascade.dataset.card import warnings
from cascade.dataset.clone import Clone, git_folder
from cascade.dataset.examples import Gathered, storable
from cascade.dataset.export import check_labels, records
from cascade.dataset.from_files import from_files
from cascade.dataset.from_log import LogSource, from_log
from cascade.dataset.known import Reading
from cascade.dataset.manifest import read_dataset
from cascade.dataset.mining import label_history
from cascade.dataset.splitting import Part, Shares
from cascade.dataset.tally import Tally
from cascade.errors import counted
from cascade.files import STDIN, check_readable
from cascade.log.database import opened_log, snapshot
from cascade.tree import Cascade

app = typer.Typer(
    help="Labelled tasks for training: build them from the log and from files, look them over, label more.",
    invoke_without_command=True,
    callback=need_command,
)


@app.command(name="build")
def build_(  # noqa: PLR0913 - the command line's options
    *,
    cascade: CascadeOption,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the dataset is, or will be.")],
    files: FilesArgument = None,
    data: DataOption = None,
    log: LogOption = None,
    adapter: Annotated[str, typer.Option(help="Build for one adapter: its items alone, its yes and no balanced.")] = "",
    outcome: KindOption = None,
    rest: RestOption = "",
    rename: RenameOption = None,
    trust: TrustOption = None,
    since: SinceOption = None,
    test: Annotated[float, typer.Option(help="Share of the tasks that are kept for tests, the latest.")] = 0.2,
    valid: Annotated[float, typer.Option(help="Share that training looks at to know when to stop.")] = 0.1,
    freeze: Annotated[bool, typer.Option("--freeze", help="Add no task to a test part that is there.")] = False,
    correct_test: Annotated[
        bool, typer.Option("--correct-test", help="Let tasks of the test part take over what is known of them now.")
    ] = False,
    keep_out: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Labelled tasks of which none may be in the dataset; may be repeated."),
    ] = None,
    balance: Annotated[
        bool, typer.Option("--balance/--no-balance", help="Whether classes weigh the same together.")
    ] = True,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Build labelled tasks from the log and its outcomes, from files, or from both: with files, the log of --log alone.

    A folder that holds a dataset keeps its test part, and no task of it is ever trained on.
    """
    read = read_config(config or shipped_config())
    tree = cascade_of(read, cascade)
    reading = reading_of(tree, outcome, rest, rename, trust)
    named = [*(data or ()), *(files or ())]
    check_readable([*named, *(keep_out or ())])
    options = BuildOptions(
        adapter=adapter,
        shares=Shares(test=test, valid=valid, is_frozen=freeze),
        balances=balance,
        corrects_test=correct_test,
        kept_out=tuple(keep_out or ()),
    )
    path = log if named else log_path(log, config)
    manifest = built(out, Sources(files=named, log=path, since=since_option(since)), tree, reading, options)
    if json:
        print_json({"folder": str(out), **manifest})
        return
    show_dataset(results(), out, manifest)
    for warning in warnings(manifest):
        note(warning)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where labelled tasks come from.

    Attributes:
        files: Files of labelled tasks.
        log: A log with outcomes; None for none.
        since: Seconds since the epoch; what the log has from before is passed over.
    """

    files: Sequence[Path] = ()
    log: Path | None = None
    since: float = 0.0


def built(out: Path, sources: Sources, tree: Cascade, reading: Reading, options: BuildOptions) -> dict[str, Any]:
    """Build a dataset, with a bar that shows how many tasks are read; see ``dataset.build.build``."""
    with progress() as bar:
        line = bar.add_task("tasks", total=None)

        def gather(tally: Tally) -> Iterable[Gathered]:
            yield from from_files(sources.files, tree, reading, tally, lambda n: bar.update(line, completed=n))
            if sources.log is not None:
                with opened_log(sources.log, must_exist=True) as database, snapshot(database):
                    log = LogSource(database=database, path=sources.log, since=sources.since)
                    yield from from_log(
                        log, tree, reading, tally, lambda n, total: bar.update(line, completed=n, total=total)
                    )

        return build(out, tree, gather, options)


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="The folder of a dataset.")],
    *,
    json: JsonOption = False,
) -> None:
    """Show a dataset, once each of its files is what its manifest says."""
    found = read_dataset(folder)
    if json:
        print_json({"folder": str(folder), "sha256": found.sha256, **found.told})
        return
    show_dataset(results(), folder, found.told)
    results().print(plain(f"all files are as they were written; SHA-256 of the manifest {found.sha256}"))


@app.command(name="export")
def export_(
    folder: Annotated[Path, typer.Argument(help="The folder of a dataset.")],
    file: Annotated[Path, typer.Argument(help="Where to, JSON lines in the form .jevl; - for stdout.")],
    *,
    part: Annotated[Part, typer.Option(help="Which part.")] = Part.TRAIN,
    force: ForceOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Write a part of a dataset as labelled decisions, a record for each item, for tools that read .jevl."""
    check_new(file, force=force, json=json)
    found = read_dataset(folder)
    tree = cascade_of(read_config(config or shipped_config()), found.manifest.cascade)
    check_labels(found, tree)
    n = 0
    with progress() as bar, written(file) as write:
        line = bar.add_task("items", total=found.manifest.parts[part].items)
        for record in records(found, tree, part):
            write(json_.dumps(record, allow_nan=False) + "\n")
            n += 1
            bar.advance(line)
    if json:
        print_json({"folder": str(folder), "part": str(part), "file": str(file), "records": n})
    elif file != STDIN:
        results().print(plain(f"{file}: {counted(n, 'record')} of part {part} of {folder}"))


@app.command()
def mine(
    repository: Annotated[Path, typer.Argument(help="A checkout with its history, or a bare repository.")],
    file: Annotated[Path, typer.Argument(help="Where to, JSON lines of commit tasks; - for stdout.")],
    *,
    tasks: Annotated[int, typer.Option(min=1, help="The most commits that are taken, the newest first.")] = 500,
    name: Annotated[str, typer.Option(help="What the repository is called; as its folder if absent.")] = "",
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Mine labelled tasks from commits: the message is the task, and what the commit changed is the truth."""
    check_new(file, force=force, json=json)
    folder = git_folder(repository)
    called = name or repository.resolve().name.removesuffix(".git")
    n = 0
    with progress() as bar, Clone(folder) as clone, written(file) as write:
        line = bar.add_task("commits", total=len(clone.commits))
        for row in label_history(clone, called, tasks, lambda: bar.advance(line)):
            write(json_.dumps(storable(row), allow_nan=False) + "\n")
            n += 1
        n_commits = len(clone.commits)
    if json:
        print_json({"repository": str(repository), "file": str(file), "commits": n_commits, "tasks": n})
    elif file != STDIN:
        results().print(plain(f"{file}: {counted(n, 'task')} from {counted(n_commits, 'commit')} of {repository}"))
    if not n:
        note("no commit says in words what it changes in code that was there before")


app.command()(review)
app.command(name="label")(label_)
