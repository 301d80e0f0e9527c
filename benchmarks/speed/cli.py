"""What a workload costs here, how far that is from what it must cost, and what baselines take for the same.

python -m benchmarks.speed --baseline llama --plot plots
python -m benchmarks.speed --workload budget --requests 200
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from benchmarks.speed.baselines import ALL, BASELINES, BaselineChoice
from benchmarks.speed.budget_trials import BUDGET
from benchmarks.speed.plots import write_budget_plots, write_plots
from benchmarks.speed.tables import show_budgets, show_rounds
from benchmarks.speed.workload import WORKLOADS
from cascade.audit.html.draw import prepare
from cascade.cli.output import (
    ConfigOption,
    ExitCode,
    JsonOption,
    Settings,
    complain,
    guarded,
    note,
    print_json,
    progress,
)
from cascade.cli.signals import Signals
from cascade.cli.streams import mend_streams
from cascade.config.schema import Config, read_config, shipped_config
from cascade.config.toml import meant
from cascade.errors import InputError
from cascade.machine import n_cores, processor_name

NAME = "python -m benchmarks.speed"

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command()
def speed(  # noqa: PLR0913 - the command line's options
    context: typer.Context,
    *,
    workload: Annotated[str, typer.Option(help=f"One of {', '.join(WORKLOADS)}, or {BUDGET}.")] = "precision-100",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds whose median is shown; one more warms up.")] = 5,
    requests: Annotated[int, typer.Option(min=1, help=f"Requests of the workload {BUDGET}.")] = 200,
    model: Annotated[Path | None, typer.Option(help="A GGUF file in place of the config's base model.")] = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help=f"Ask a baseline the same, in turns: {', '.join(BASELINES)} or {ALL}; repeatable."),
    ] = None,
    baseline_rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds in which baselines take part; every round if absent.")
    ] = None,
    llama_server: Annotated[Path | None, typer.Option(help="The program that the baseline llama-server runs.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Folder for pictures: latency, stages, reuse, waves, prediction, baselines.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of an error.")] = False,
) -> None:
    """Run a workload with known answers; read the ratios, times are this machine's alone."""
    context.obj.verbose = verbose
    _check_workload(workload)
    choice = BaselineChoice.of(baseline or (), llama_server, baseline_rounds)
    if workload == BUDGET and choice.names:
        msg = (
            f"--baseline {choice.names[0]} with --workload {BUDGET}; no baseline knows budgets. "
            "Leave one of the two out."
        )
        raise InputError(msg)
    if plot is not None:
        prepare(plot)  # a run that takes minutes must not end in an import error
    settings = _with_model(read_config(config or shipped_config()), model)
    figures = _budgets(settings, requests) if workload == BUDGET else _rounds(settings, workload, rounds, choice)
    figures["machine"] = {
        "processor": processor_name(),
        "cores": n_cores(),
        "system": platform.platform(),
        "llama_cpp_python": version("llama-cpp-python"),
    }
    if plot is not None:
        for path in (write_budget_plots if workload == BUDGET else write_plots)(figures, plot):
            note(f"wrote {path}")
    if json:
        print_json(figures)
    else:
        (show_budgets if workload == BUDGET else show_rounds)(figures)


def _check_workload(name: str) -> None:
    """Refuse a name before a model is loaded."""
    names = (*WORKLOADS, BUDGET)
    if name not in names:
        msg = f"Unknown workload {name!r}. {meant(name, names)}Allowed are {', '.join(names)}."
        raise InputError(msg)


def _rounds(config: Config, workload: str, n: int, choice: BaselineChoice) -> dict[str, Any]:
    from benchmarks.speed.compare import compare  # noqa: PLC0415 - loads llama_cpp

    with progress() as bar:
        line = bar.add_task("rounds", total=n + 1)
        return compare(config, workload, n, choice=choice, advance=lambda: bar.advance(line))


def _budgets(config: Config, n: int) -> dict[str, Any]:
    from benchmarks.speed.budgets import Counts, measure_budgets  # noqa: PLC0415 - loads llama_cpp

    counts = Counts.of(n)
    with progress() as bar:
        line = bar.add_task("requests", total=counts.steps)
        return measure_budgets(config, counts, advance=lambda: bar.advance(line))


def _with_model(config: Config, path: Path | None) -> Config:
    if path is None:
        return config
    model = config.model.model_copy(update={"path": path.resolve(), "repo_id": None, "filename": None})
    return config.model_copy(update={"model": model})


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command, which ends as ``cascade`` does: errors in one line, and its exit codes.

    Args:
        arguments: What follows the command's name; None for the process's own, which then ends with the command.

    Returns:
        The exit code; see ``cascade.cli.output``.
    """
    settings = Settings(name=NAME, path=NAME)
    signals = Signals()
    signals.install()
    try:
        problem = mend_streams(is_process=arguments is None)
        if problem:
            complain(problem)
            return ExitCode.FAILURE

        def command() -> object:
            given = list(sys.argv[1:] if arguments is None else arguments)
            with signals.unwinding():  # a signal must not leave a server behind
                return get_command(app).main(args=given, prog_name=NAME, standalone_mode=False, obj=settings)

        return guarded(command, settings)
    finally:
        if arguments is not None:
            signals.put_back()
