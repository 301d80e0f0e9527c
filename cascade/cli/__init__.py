"""The command ``cascade``: text from outside comes in, library calls go out, results are drawn.

Each group of commands is a module of its own. None imports llama_cpp before it scores, so that help
and config commands answer at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer
from typer.main import get_command

from cascade.cli import (
    audit_command,
    bench_command,
    check_command,
    classify_command,
    config_commands,
    depth_command,
    doctor_command,
    evaluate_command,
    quantize_command,
    serve_command,
    tune_command,
)
from cascade.cli.output import Settings, guarded

app = typer.Typer(name="cascade", add_completion=False)
app.command()(classify_command.classify)
app.command()(evaluate_command.evaluate)
app.command()(depth_command.depth)
app.command()(tune_command.tune)
app.command()(audit_command.audit)
app.command()(check_command.check)
app.command()(bench_command.bench)
app.command()(doctor_command.doctor)
app.command()(quantize_command.quantize)
app.command()(serve_command.serve)
app.add_typer(config_commands.app, name="config")


def _print_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"cascade {version('binary-cascade')}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of an error.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Sort candidates by short-circuiting cascades of yes/no questions on small models."""
    context.obj.verbose = verbose


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: What follows the command's name; None for the process's own.

    Returns:
        The exit code; see ``cascade.cli.output``.
    """
    settings = Settings()
    command = get_command(app)
    return guarded(
        lambda: command.main(args=arguments, prog_name="cascade", standalone_mode=False, obj=settings), settings
    )
